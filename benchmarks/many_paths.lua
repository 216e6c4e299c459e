-- As report.lua, with many different paths, for strategies that hash them.
dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "report.lua")
local turn = 0
request = function()
  turn = (turn + 1) % 4096
  return wrk.format(nil, "/" .. turn)
end
