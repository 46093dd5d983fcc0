import 'dart:async';

/// An order.
@immutable
class Order extends Base with Log implements IOrder {
  final int id = 3;
  static const max = 3;

  Order(this.id);
  Order.named(int id) : this(id);
  factory Order.of(int id) {
    return Order(id);
  }

  /* Adds. */
  @override
  Future<bool> add<T>(T item) async {
    int local() => 1;
    await store.save(Entry(item));
    Helper.log('x ${format(item)}');
    return item?.check() ?? fatal('x');
  }

  int get total => items.length;
  set total(int x) {
    y = x;
  }
  operator ==(Object o) => true;
}

mixin Log { void log() {} }
enum Kind { a, b; int code() => 1; }
extension Ext on String { String shout() => toUpperCase(); }
typedef Id = int;
const limit = 3;
int top(int a) {
  var local = 3;
  return helper(local);
}
void main() => runApp(const App());
abstract class IOrder { void run(); }
