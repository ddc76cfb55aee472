-- The windows of budgets' periods, as `machines/budget.py` has them. Unix seconds, UTC.

local HOUR, DAY = 3600, 86400

-- The first day of the month that a day is in; both are counted from 1 January 1970. After
-- `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms": years begin in
-- March there, so that the leap day is the last.
local function first_of_month(day)
  local shifted = day + 719468
  local of_era = shifted % 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * of_year + 2) / 153)
  return day - (of_year - math.floor((153 * month + 2) / 5))
end

-- Start and end of the window that a time is in; no end: for good.
local function window_of(period, at)
  if period == "total" then
    return 0, nil
  elseif period == "month" then
    local first = first_of_month(math.floor(at / DAY))
    return first * DAY, first_of_month(first + 31) * DAY
  end
  local length, first = HOUR, 0
  if period == "day" then
    length = DAY
  elseif period == "week" then
    length, first = 7 * DAY, -3 * DAY
  end
  local start = math.floor((at - first) / length) * length + first
  return start, start + length
end
