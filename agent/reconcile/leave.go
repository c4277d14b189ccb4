package reconcile

import (
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

// leaveTime is how long what others reach by name runs on after it has been told
// to stop: every node has taken it out of its answers by then, and the answers
// that were given before have ended (their time to live is a second). The rest is
// for machines that are busy.
const leaveTime = 3 * time.Second

// leave makes others go elsewhere before the instance is told to end, so that
// no request meets one that has ended. What nobody is sent to ends at once.
func (t *task) leave(now time.Duration) {
	if t.left || t.desired == nil || !t.running() || t.lapsed() {
		return
	}
	t.left = true
	if !endpoints.Works(t.desired.GetSpec(), t.status) || len(endpoints.Of(t.desired).GetPorts()) == 0 {
		return
	}
	t.endNotBefore = max(t.endNotBefore, now+leaveTime)
	t.status.Phase = skerryv1.Phase_PHASE_STOPPING
	t.status.Message = "it is taken out of DNS, then it is stopped"
}
