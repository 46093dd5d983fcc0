package shop.orders

import scala.collection.mutable

/** An order. */
@serializable
case class Order(id: Int, name: String) extends Base(id) with IOrder {
  private val items = mutable.Buffer[Item]()
  var count = 1
  type Id = Int

  // Adds.
  override def add[T](item: T)(implicit e: E): Boolean = {
    def local = 1
    items.append(new Entry(item))
    Helper.log(s"x ${format(item)}")
    item.check() match {
      case Some(x) => x
      case _ => throw new Exception("x")
    }
  }

  class Line {
    def price: Int = 1
  }
}

object Order {
  val Max = 3
  def apply(id: Int): Order = new Order(id, "x")
  implicit val ord: Ordering[Order] = Ordering.by(_.id)
}

trait IOrder { def run(): Unit }
sealed abstract class Shape
object Main extends App {
  println("x")
}
