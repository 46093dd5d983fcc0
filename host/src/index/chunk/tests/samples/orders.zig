const std = @import("std");
const Allocator = std.mem.Allocator;

/// An order.
pub const Order = struct {
    id: u32,
    name: []const u8 = "x",
    const max = 3;

    pub fn init(allocator: Allocator, id: u32) !Order {
        const x = try allocator.alloc(u8, 3);
        return Order{ .id = id };
    }

    // Adds.
    fn add(self: *Order, item: Item) void {
        self.items.append(item) catch unreachable;
        std.debug.print("x", .{});
    }

    const Line = struct {
        fn price() u32 {
            return 1;
        }
    };
};

pub const Kind = enum { a, b };
const U = union(enum) { a: u32 };
const Err = error{ Bad };
var limit: u32 = 3;

pub fn top(comptime T: type) type {
    return struct {
        fn inner() void {}
    };
}

test "adds" {
    try std.testing.expect(top(u8) == 1);
}

export fn foo() void {}
extern fn bar() void;
comptime {
    _ = foo();
}
