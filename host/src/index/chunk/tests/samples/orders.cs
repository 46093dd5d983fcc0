using System;
using System.Collections.Generic;

namespace Shop.Orders
{
    /// <summary>An order.</summary>
    [Serializable]
    public class Order : Base, IOrder
    {
        private readonly int _id = 3;
        public const int Max = 3;
        public event EventHandler Changed;

        public Order(int id) : base(id)
        {
            _id = id;
        }

        public string Name { get; set; }

        public int Total
        {
            get { return Sum(Items); }
        }

        /* Adds. */
        public async Task<bool> AddAsync<T>(Item item)
        {
            int Local(int a) => a + 1;
            await _store.Save(new Entry<T>(item));
            Helper.Log(nameof(item));
            return item?.Check() ?? throw new Exception("x");
        }

        public static Order operator +(Order a, Order b) => a;
        public int this[int i] => i;
        ~Order() { }

        private enum State { Open, Closed }
        public struct Point { public int X; }
    }

    public interface IOrder { void Run(); }
    public record Person(string First);
    public delegate void Handler(int a);
}
