package shop.orders

import java.util.*

/** An order. */
@Serializable
data class Order(val id: Int, var name: String) : Base(id), IOrder {
    private val items = mutableListOf<Item>()
    val total: Int
        get() = items.sumOf { it.price }

    init {
        check(id > 0)
    }

    constructor(id: Int) : this(id, "x")

    // Adds.
    override suspend fun <T> add(item: T): Boolean {
        fun local() = 1
        items.add(Item(item))
        Helper.log("x ${format(item)}")
        return item?.check() ?: error("x")
    }

    companion object {
        const val MAX = 3
        fun of(id: Int): Order = Order(id)
    }

    inner class Line {
        fun price() = 1
    }
}

interface IOrder {
    fun run()
}
enum class Kind { A, B; fun code() = 1 }
object Registry {
    fun register(o: Order) {}
}
typealias Id = Int
const val LIMIT = 3
fun String.shout(): String = uppercase()
fun main() {
    val local = 3
    println(local)
}
