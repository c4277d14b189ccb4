package state

import (
	"crypto/sha256"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

const maxOperators = 1000

var operators = table[*sitev1.OperatorRecord]{
	name:    "operators",
	key:     func(o *sitev1.OperatorRecord) string { return o.GetName() },
	ordinal: operatorsOrdinal,
	access:  true,
}

// addOperator records an operator. One of the same name gets the new key: the
// token was made for that name, by somebody who may.
func (x *tx) addOperator(operator *sitev1.OperatorRecord) error {
	if err := checkName("Operator", operator.GetName()); err != nil {
		return err
	}
	if len(operator.GetKeyFingerprint()) != sha256.Size {
		return problem.New(problem.Invalid, "Operator/"+operator.GetName(), "the fingerprint of its key is not a SHA-256").WithField("keyFingerprint")
	}
	if err := checkGrants("Operator/"+operator.GetName(), operator.GetGrants()); err != nil {
		return err
	}
	about := subject{kind: "Operator", name: operator.GetName()}
	if old := operators.get(x.rows, operator.GetName()); old != nil {
		if err := x.revoke("operator/"+old.GetName(), old.GetKeyFingerprint()); err != nil {
			return err
		}
		x.warn(about, "OperatorKeyReplaced", "operator %s joined again: only the new key counts", operator.GetName())
	} else if x.counts[operatorsOrdinal] == maxOperators {
		return exhausted("operators", maxOperators)
	} else {
		x.inform(about, "OperatorJoined", "operator %s", operator.GetName())
	}
	operators.put(x, operator)
	return nil
}

func exhausted(what string, limit int) error {
	return problem.New(problem.Exhausted, "site", "there are %d %s, which is the most", limit, what)
}
