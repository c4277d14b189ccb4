package check

// Leaves follows the audit logs of all voters: each must write the same leaf
// under the same number, and have every leaf that its state speaks of.
type Leaves struct{ hashes []string }

// NewLeaves returns the rule before the first leaf.
func NewLeaves() *Leaves { return &Leaves{} }

// Wrote tells that a voter wrote a leaf, perhaps again after a restart.
func (l *Leaves) Wrote(node string, number uint64, hash string) *Violation {
	switch have := uint64(len(l.hashes)); {
	case number == have:
		l.hashes = append(l.hashes, hash)
		return nil
	case number > have:
		return violated(AuditLog, "%s writes leaf %d, nobody wrote leaf %d", node, number, have)
	case l.hashes[number] != hash:
		return violated(AuditLog, "%s writes another leaf %d than the others", node, number)
	default:
		return nil
	}
}

// Restarted tells what a voter has on its disk when it begins: of the leaves
// from first on, those below size must be there.
func (l *Leaves) Restarted(node string, has func(number uint64) bool, first, size uint64) *Violation {
	for number := first; number < size; number++ {
		if !has(number) {
			return violated(AuditLog, "%s has lost leaf %d, which its log cannot give back: the state begins after leaf %d", node, number, size)
		}
	}
	return nil
}
