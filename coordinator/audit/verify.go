package audit

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// Trusted is what a verifier knows beforehand: the site ID, or a public key, or
// both.
type Trusted struct {
	SiteID string
	// Key must have signed the last checkpoint; nil for any key of the site.
	Key *Keys
	// Continued: another export continues this one, which need not reach as far
	// as the checkpoints.
	Continued bool
	// Checkpoints that the verifier kept from before: the export must continue
	// each of them.
	Checkpoints []string
}

// Report is what a verified export says.
type Report struct {
	Site, SiteID string
	// Leaves from First up to, not including, Size are in it.
	First, Size uint64
	Root        tlog.Hash
	// SignedBy is the key of the last checkpoint.
	SignedBy string
	// Kept is how many of the verifier's checkpoints lie in it and hold.
	Kept int
	// Before and After are the frontiers at First and Size: an export continues
	// another when its Before is the other's After.
	Before, After Frontier
	From, To      time.Time
}

// verifier is one pass over an export.
type verifier struct {
	trusted  Trusted
	header   *sitev1.ExportHeader
	keys     Keys
	frontier Frontier
	// due are the checkpoints that the tree has not reached yet, by size.
	due    map[uint64][]tlog.Hash
	report Report
	index  uint64
}

// VerifyExport reads an export to its end and checks everything in it against
// what is trusted. An error means that the export must not be believed.
func VerifyExport(r io.Reader, trusted Trusted) (Report, error) {
	if trusted.SiteID == "" && trusted.Key == nil {
		return Report{}, errors.New("the site ID or a public key is needed")
	}
	in, err := readRecords(r)
	if err != nil {
		return Report{}, err
	}
	record, err := in.next(maxHeader)
	if err != nil {
		return Report{}, err
	}
	in.buffer = nil // the header's room is not needed any more
	v := &verifier{trusted: trusted, header: record.GetHeader(), due: map[uint64][]tlog.Hash{}}
	if v.header == nil {
		return Report{}, errors.New("the export does not begin with its header")
	}
	if err := v.begin(); err != nil {
		return Report{}, err
	}
	for v.frontier.Size() < v.header.GetSize() {
		record, err := in.next(maxRecord)
		if err != nil {
			return Report{}, fmt.Errorf("after entry %d: %w", int64(v.frontier.Size())-1, err)
		}
		leaf, ok := record.GetRecord().(*sitev1.ExportRecord_Leaf)
		if !ok {
			return Report{}, fmt.Errorf("entry %d is missing", v.frontier.Size())
		}
		if err := v.leaf(leaf.Leaf); err != nil {
			return Report{}, err
		}
	}
	record, err = in.next(maxRecord)
	if err != nil {
		return Report{}, err
	}
	if end := record.GetEnd(); end == nil || end.GetLeaves() != v.header.GetSize()-v.header.GetFirst() {
		return Report{}, errors.New("the export does not end where it says")
	}
	v.report.Root, v.report.After = v.frontier.Root(), v.frontier
	return v.report, in.end()
}

func (v *verifier) begin() error {
	h := v.header
	if v.trusted.SiteID != "" && h.GetSiteId() != v.trusted.SiteID {
		return fmt.Errorf("it is an export of site %.16s, not of %.16s", h.GetSiteId(), v.trusted.SiteID)
	}
	var err error
	if v.keys, err = KeysOf(h.GetSiteId(), h.GetTrust()); err != nil {
		return err
	}
	if v.keys.Site != h.GetSite() {
		return fmt.Errorf("it says that it is of site %q, the chain of trust is that of %q", h.GetSite(), v.keys.Site)
	}
	if h.GetFirst() >= h.GetSize() {
		return fmt.Errorf("it says that it holds entries %d to %d", h.GetFirst(), h.GetSize())
	}
	if v.frontier, err = FrontierOf(h.GetFirst(), h.GetEdge()); err != nil {
		return err
	}
	v.report = Report{Site: h.GetSite(), SiteID: h.GetSiteId(), First: h.GetFirst(), Size: h.GetSize(), Before: v.frontier}
	if err := v.signed(); err != nil {
		return err
	}
	if err := v.brought(); err != nil {
		return err
	}
	return v.reached()
}

// signed takes in the export's own checkpoints.
func (v *verifier) signed() error {
	last := uint64(0)
	for _, text := range v.header.GetCheckpoints() {
		c, by, err := OpenCheckpoint(text, v.keys)
		if err != nil {
			return err
		}
		if c.SiteID != v.header.GetSiteId() || c.Size < last || c.Size < v.header.GetFirst() || c.Size > v.header.GetSize() {
			return fmt.Errorf("a checkpoint of %d entries of site %.16s does not belong here", c.Size, c.SiteID)
		}
		last, v.report.SignedBy = c.Size, by
		v.due[c.Size] = append(v.due[c.Size], c.Root)
	}
	if last != v.header.GetSize() {
		return fmt.Errorf("no signature covers all %d entries", v.header.GetSize())
	}
	if v.trusted.Key == nil {
		return nil
	}
	checkpoints := v.header.GetCheckpoints()
	if _, _, err := OpenCheckpoint(checkpoints[len(checkpoints)-1], *v.trusted.Key); err != nil {
		return fmt.Errorf("the last checkpoint: %w", err)
	}
	return nil
}

// brought takes in the checkpoints that the verifier kept.
func (v *verifier) brought() error {
	for _, text := range v.trusted.Checkpoints {
		c, by, err := OpenCheckpoint(text, v.keys)
		switch {
		case err != nil:
			return fmt.Errorf("the checkpoint that was brought: %w", err)
		case c.SiteID != v.header.GetSiteId():
			return fmt.Errorf("the checkpoint that was brought is of site %.16s", c.SiteID)
		case c.Size > v.header.GetSize() && v.trusted.Continued:
			continue
		case c.Size > v.header.GetSize():
			return fmt.Errorf("entries are missing at the end: %s has signed %d entries, the export ends after %d", by, c.Size, v.header.GetSize())
		case c.Size < v.header.GetFirst():
			continue // it lies in an earlier archive
		}
		v.report.Kept++
		v.due[c.Size] = append(v.due[c.Size], c.Root)
	}
	return nil
}

// reached compares the tree with the checkpoints of its size.
func (v *verifier) reached() error {
	roots := v.due[v.frontier.Size()]
	if len(roots) == 0 {
		return nil
	}
	delete(v.due, v.frontier.Size())
	root := v.frontier.Root()
	for _, signed := range roots {
		if signed != root {
			return fmt.Errorf("the first %d entries are not those that were signed", v.frontier.Size())
		}
	}
	return nil
}

func (v *verifier) leaf(data []byte) error {
	entry, err := Decode(v.frontier.Size(), data)
	if err != nil {
		return err
	}
	if entry.GetIndex() < v.index {
		return fmt.Errorf("entry %d comes from before the one before it in the site's log", entry.GetNumber())
	}
	v.index, v.report.To = entry.GetIndex(), entry.GetTime().AsTime()
	if v.frontier.Size() == v.header.GetFirst() {
		v.report.From = v.report.To
	}
	v.frontier.grow(data)
	return v.reached()
}
