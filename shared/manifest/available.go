package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

var availablePattern = regexp.MustCompile(`^[0-9]{1,5}%?$`)

// Available reads a number of placements, `2`, or a share of so many, `50%`,
// which is rounded up. Empty is none.
func Available(text string, of int) (int, error) {
	if text == "" {
		return 0, nil
	}
	digits, share := strings.CutSuffix(text, "%")
	number, err := strconv.Atoi(digits)
	if err != nil || !availablePattern.MatchString(text) || number > maxReplicas || (share && number > 100) {
		return 0, fmt.Errorf("%q is neither a number of placements such as 2, up to %d, nor a share such as 50%%", shorten(text), maxReplicas)
	}
	if share {
		return (of*number + 99) / 100, nil
	}
	return number, nil
}

// rollsInPlace: an update ends an old placement before a new one takes its place.
func rollsInPlace(w *skerryv1.Workload) bool {
	return w.GetUpdate().GetStrategy() == Rolling && w.GetUpdate().GetMaxSurge() == 0 && !w.GetPerNode() && !IsJob(w)
}

func replicasOf(count int) string {
	if count == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", count)
}

func howToRoll(w *skerryv1.Workload) string {
	if mode := w.GetPartition().GetMode(); mode == Stay || mode == Exclusive {
		return "it cannot run beside itself: ask for fewer, or write update: {strategy: recreate}, which minAvailable does not hold back"
	}
	return "write update: {maxSurge: 1}, which starts the new one first, or ask for fewer"
}

func (v *validator) minAvailable(w *skerryv1.Workload) {
	replicas := int(w.GetReplicas())
	switch least, err := Available(w.GetMinAvailable(), replicas); {
	case err != nil:
		v.fail("minAvailable", "%w", err)
	case replicas > 0 && least > replicas:
		v.fail("minAvailable", "%d must stay healthy of %d replicas: it can never be met", least, replicas).Hint =
			"ask for at most as many as there are replicas, or for a share such as 50%"
	case replicas > 0 && least == replicas && rollsInPlace(w):
		v.fail("minAvailable", "%s of %s must stay healthy, and an update has to end one before it starts another: it could never be updated",
			w.GetMinAvailable(), replicasOf(replicas)).Hint = howToRoll(w)
	}
}
