defmodule Shop.Order do
  @moduledoc """
  An order.
  """
  use Ecto.Schema
  alias Shop.Item
  import Ecto.Query, only: [from: 2]

  @limit 3
  @type t :: %__MODULE__{}

  defstruct [:id, :name]

  @doc "Adds one."
  @spec add(t, Item.t()) :: t
  def add(%Order{} = order, item) when is_map(item) do
    order
    |> put_item(item)
    |> Repo.insert!()

    Enum.map(order.items, fn x -> x.id end)
  end

  def total(order), do: Enum.sum(order.items)

  defp helper(a) do
    # Comment.
    IO.puts("x #{format(a)}")
  end

  defmacro mac(a) do
    quote do: unquote(a)
  end

  defguard is_ok(a) when a == 1

  defmodule Line do
    def price(_), do: 1
  end
end

defprotocol Shop.Sized do
  def size(a)
end

defimpl Shop.Sized, for: Shop.Order do
  def size(o), do: 1
end

test "adds" do
  assert 1 == 1
end
