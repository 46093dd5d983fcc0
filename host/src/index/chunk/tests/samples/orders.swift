import Foundation

/// An order.
@objc
public final class Order: Base, IOrder {
    private let id: Int = 3
    static let max = 3
    var total: Int {
        return items.reduce(0) { $0 + $1.price }
    }

    init(id: Int) {
        super.init(id)
        self.id = id
    }

    deinit { close() }

    /* Adds. */
    @discardableResult
    func add<T>(_ item: T) async throws -> Bool {
        func local() -> Int { 1 }
        try await store.save(Entry(item))
        Helper.log("x \(format(item))")
        return item?.check() ?? fatal("x")
    }

    subscript(i: Int) -> Int { return i }

    enum State { case open, closed(Int) }
    struct Point { var x: Int }
}

protocol IOrder { 
    func run() 
    var x: Int { get }
}
extension Order: Equatable {
    static func == (a: Order, b: Order) -> Bool { a.id == b.id }
}
enum Kind: Int {
    case a
    func code() -> Int { 1 }
}
typealias Id = Int
let limit = 3
func top(a: Int) -> Int {
    let local = 3
    return helper(local)
}
actor Bank { func put() {} }
