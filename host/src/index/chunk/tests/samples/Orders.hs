{-# LANGUAGE OverloadedStrings #-}
{-| Module doc. -}
module Shop.Orders
  ( Order(..)
  , add
  ) where

import qualified Data.Map as M
import Data.List (sort)

-- | An order.
data Order = Order
  { orderId :: Int
  , name :: String
  } deriving (Show, Eq)

newtype Id = Id Int
type Items = [Item]

-- | Sized things.
class Sized a where
  size :: a -> Int
  size _ = 1

instance Sized Order where
  size o = length (items o)

-- | Adds.
add :: Order -> Item -> Order
add o item
  | valid item = insert item o
  | otherwise = o
  where
    insert i x = M.insert (key i) i x

limit :: Int
limit = 3

fact 0 = 1
fact n = n * fact (n - 1)

main :: IO ()
main = do
  putStrLn "x"
  let y = helper 3
  mapM_ print $ sort [1, 2]

(<+>) :: Int -> Int -> Int
a <+> b = a + b
