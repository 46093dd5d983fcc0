-- Module.
local M = {}
local json = require("json")

--- An order.
-- More.
function M.add(self, item)
  local function inner() return 1 end
  table.insert(self.items, Item.new(item))
  self:log("x")
  return inner()
end

function M:total(a)
  return self.sum
end

--[[ Block
comment ]]
local function helper(a)
  return print "x"
end

M.late = function(x)
  return helper(x)
end

local limit = 3
M.table = {
  run = function() go() end,
  other = 1,
}
Global = 3
function top() end
return M
