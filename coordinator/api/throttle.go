package api

import (
	"math"
	"net/http"
	"strconv"

	"skerry.dev/shared/throttle"
)

// limits of one operator or workload. They stop what runs wild; a site's own
// tools stay far below.
var limits = throttle.Limits{PerSecond: 20_000, Burst: 20_000, Running: 512, Callers: 4096}

// throttled bounds what one caller takes. What a voter forwards counts for
// whom it forwards.
func (s *Server) throttled(next http.Handler) http.Handler {
	callers := throttle.New(limits, s.Clock)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave, after, err := callers.Enter(principalFrom(r.Context()).ID)
		if err != nil {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
			writeError(w, r, err)
			return
		}
		defer leave()
		next.ServeHTTP(w, r)
	})
}
