-- Asks for the manifests that manycached.py made, one after another: many.lua IMAGES STEP [PAUSE]. The step is prime, so
-- that neighbours on the disk are not neighbours in time; PAUSE is the mean wait of a connection between two requests, in ms.
local images, step, pause, n = 1, 1, 0, 0

init = function(args)
  images, step, pause = tonumber(args[1]), tonumber(args[2]), tonumber(args[3] or 0)
  wrk.headers["Accept"] = args[4]
  if pause == 0 then delay = nil end
end

request = function()
  n = (n + step) % images
  return wrk.format("GET", string.format("/v2/docker.io/library/app%d/manifests/v%d", math.floor(n / 100), n % 100))
end

-- Even over twice the mean: connections that began together do not stay together.
delay = function() return math.random(0, 2 * pause) end
-- wrk's own report rounds percentiles; this prints what parts.py reads.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %.3f %.3f %.3f %d\n", summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency:percentile(99.9) / 1000,
    e.connect + e.read + e.write + e.status + e.timeout))
end
