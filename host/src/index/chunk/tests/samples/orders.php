<?php
declare(strict_types=1);

namespace App\Orders;

use App\Base;

const LIMIT = 3;
define('OTHER', 4);

/**
 * An order.
 */
#[Entity]
final class Order extends Base implements IOrder
{
    use Loggable;
    const MAX = 3;
    private int $id = 0;

    public function __construct(private string $name)
    {
        parent::__construct($name);
    }

    // Adds.
    public function add(Item $item): bool
    {
        $this->items[] = new Entry($item);
        Helper::log('x');
        # hash
        return array_map(fn($x) => strlen($x), $item?->list());
    }

    abstract protected function go();
}

interface IOrder { public function run(); }
trait Loggable { public function log() { echo 1; } }
enum Suit: string { case Hearts = 'H'; public function label() { return 1; } }

function top($a) {
    $f = function ($x) { return $x; };
    return \App\helper($a);
}
?>
<html><?= foo() ?></html>
