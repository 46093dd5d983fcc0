# frozen_string_literal: true
require 'json'

module Shop
  LIMIT = 3

  # An order.
  class Order < Base
    include Comparable
    attr_reader :id, :name
    has_many :items

    def initialize(id)
      super(id)
      @id = id
    end

    # Adds one.
    def add!(item, &block)
      items.each do |x|
        x.save!
        puts "n #{format(x)}"
      end
      Item.new(item).check?
      log
    end

    def self.find(id) = Store.get(id)

    class << self
      def build(a)
        new(a)
      end
    end

    private

    def ==(other)
      id == other.id
    end
  end
  Point = Struct.new(:x, :y) do
    def dist
      Math.sqrt(x * x)
    end
  end
end

=begin
block
=end
def top
  1
end

class Shop::Order::Line
  define_method(:foo) { bar }
  scope :open, -> { where(open: true) }
end

RSpec.describe Shop::Order do
  it "adds" do
    expect(add(1)).to eq(2)
  end
end
