package shop

enum Color(val rgb: Int):
  case Red extends Color(1)
  case Green

given ordInt: Ord[Int] with
  def compare(x: Int, y: Int) = x - y

extension (s: String)
  def shout: String = s.toUpperCase()

def top(a: Int): Int =
  val b = helper(a)
  b + 1

val limit = 3
opaque type Id = Int
class Box:
  def get = 1
end Box
