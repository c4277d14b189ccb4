package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// testLog is a signed log of a site.
type testLog struct {
	siteID string
	key    ed25519.PrivateKey
	trust  []*sitev1.TrustVersion
	leaves [][]byte
}

func newTestLog(t testing.TB, seed byte, leaves int) *testLog {
	t.Helper()
	rand := env.NewSystem().Rand
	authority, err := certs.NewAuthority(rand, "reef", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	first, err := certs.FirstTrust("reef", authority)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{siteID: certs.SiteID(first), key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))}
	public := l.key.Public().(ed25519.PublicKey)
	second, err := certs.ExtendTrust(first, authority, certs.TrustChange{
		Add: []*x509.Certificate{authority.Certificate()}, AuditKeys: []*sitev1.AuditKey{{Node: "n1", Key: public}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.trust = []*sitev1.TrustVersion{first, second}
	for n := range leaves {
		data, err := Encode(&skerryv1.AuditEntry{
			Number: uint64(n), Index: uint64(10 + n), Time: &timestamppb.Timestamp{Seconds: int64(n)}, Epoch: "1.2",
			Principal: "spiffe://reef/operator/mara", From: "10.0.0.7", RequestId: fmt.Sprint(n), Verb: "apply",
			Resources: []string{fmt.Sprintf("Workload/default/w-%d", n)}, Digest: bytes.Repeat([]byte{byte(n)}, 32), Result: "ok",
		})
		if err != nil {
			t.Fatal(err)
		}
		l.leaves = append(l.leaves, data)
	}
	return l
}

func (l *testLog) checkpoint(t testing.TB, size int) string {
	t.Helper()
	var f Frontier
	for _, data := range l.leaves[:size] {
		f.grow(data)
	}
	text, err := Sign(Checkpoint{SiteID: l.siteID, Size: uint64(size), Root: f.Root()}, KeyName("reef", "n1"), l.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// export of the leaves from first up to size, with checkpoints of some sizes.
func (l *testLog) export(t testing.TB, first, size int, leaves [][]byte, signed ...string) []byte {
	t.Helper()
	var before Frontier
	for _, data := range l.leaves[:first] {
		before.grow(data)
	}
	header := &sitev1.ExportHeader{
		Site: "reef", SiteId: l.siteID, First: uint64(first), Size: uint64(size), Edge: before.Edge(), Trust: l.trust, Checkpoints: signed,
	}
	var out bytes.Buffer
	err := WriteExport(&out, header, func(put func([]byte) error) error {
		for _, data := range leaves {
			if err := put(data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAnExportIsVerifiedWithTheSiteIDOrTheKeyAlone(t *testing.T) {
	l := newTestLog(t, 1, 100)
	file := l.export(t, 37, 100, l.leaves[37:], l.checkpoint(t, 50), l.checkpoint(t, 100))
	text, err := VerifierKey("reef", "n1", l.key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	key, err := OneKey(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []Trusted{
		{SiteID: l.siteID},
		{Key: &key},
		{SiteID: l.siteID, Key: &key, Checkpoints: []string{l.checkpoint(t, 37), l.checkpoint(t, 80), l.checkpoint(t, 100), l.checkpoint(t, 3)}},
	} {
		report, err := VerifyExport(bytes.NewReader(file), trusted)
		if err != nil || report.First != 37 || report.Size != 100 || report.SignedBy != "reef/n1" {
			t.Errorf("%+v: %v", report, err)
		}
		if len(trusted.Checkpoints) > 0 && report.Kept != 3 {
			t.Errorf("%d checkpoints were held", report.Kept)
		}
	}
	for name, trusted := range map[string]Trusted{
		"nothing":      {},
		"another site": {SiteID: newTestLog(t, 1, 0).siteID},
	} {
		if _, err := VerifyExport(bytes.NewReader(file), trusted); err == nil {
			t.Errorf("it was believed with the trust in %s", name)
		}
	}
}

func TestAnExportContinuesTheArchiveBeforeIt(t *testing.T) {
	l := newTestLog(t, 1, 60)
	one, err := VerifyExport(bytes.NewReader(l.export(t, 0, 20, l.leaves[:20], l.checkpoint(t, 20))), Trusted{SiteID: l.siteID})
	if err != nil {
		t.Fatal(err)
	}
	two, err := VerifyExport(bytes.NewReader(l.export(t, 20, 60, l.leaves[20:], l.checkpoint(t, 60))), Trusted{SiteID: l.siteID})
	if err != nil || two.Before != one.After {
		t.Errorf("it does not continue: %v", err)
	}
}

// tamperings of an export, each as somebody might try it. They return what a
// verifier is given; nil when the draw changed nothing.
func tamperings(t *testing.T, l, forked *testLog, whole []byte, rng *rand.Rand) map[string]func() []byte {
	n := len(l.leaves)
	full := l.checkpoint(t, n)
	return map[string]func() []byte{
		"a byte is edited": func() []byte {
			file := bytes.Clone(whole)
			file[rng.IntN(len(file))] ^= byte(1 + rng.IntN(255))
			return file
		},
		"an entry is edited": func() []byte {
			leaves := slices.Clone(l.leaves)
			i := rng.IntN(n)
			entry := &skerryv1.AuditEntry{}
			if err := proto.Unmarshal(leaves[i], entry); err != nil {
				t.Fatal(err)
			}
			entry.Principal = fmt.Sprintf("spiffe://reef/operator/o%d", rng.IntN(1000))
			leaves[i], _ = Encode(entry)
			return l.export(t, 0, n, leaves, full)
		},
		"entries are deleted and their numbers closed up": func() []byte {
			at := rng.IntN(n)
			leaves := slices.Delete(slices.Clone(l.leaves), at, at+1)
			return l.export(t, 0, n-1, renumber(t, leaves), full)
		},
		"bytes are cut out": func() []byte {
			at := rng.IntN(len(whole))
			return slices.Delete(bytes.Clone(whole), at, min(len(whole), at+1+rng.IntN(500)))
		},
		"bytes are added": func() []byte {
			at := rng.IntN(len(whole) + 1)
			return slices.Insert(bytes.Clone(whole), at, byte(rng.IntN(256)))
		},
		"entries are reordered": func() []byte {
			i, j := rng.IntN(n), rng.IntN(n)
			if i == j {
				return nil
			}
			leaves := slices.Clone(l.leaves)
			leaves[i], leaves[j] = leaves[j], leaves[i]
			return l.export(t, 0, n, renumber(t, leaves), full)
		},
		"the log is forked at some entry": func() []byte {
			at := rng.IntN(n)
			leaves := append(slices.Clone(l.leaves[:at]), forked.leaves[at:]...)
			return l.export(t, 0, n, leaves, []string{full, forked.checkpoint(t, n)}[rng.IntN(2)])
		},
		"it is cut short, with an older checkpoint that is true": func() []byte {
			size := 1 + rng.IntN(n-1)
			return l.export(t, 0, size, l.leaves[:size], l.checkpoint(t, size))
		},
		"the beginning is left out": func() []byte {
			at := 1 + rng.IntN(n-1)
			return l.export(t, 0, n-at, renumber(t, l.leaves[at:]), full)
		},
		"another site signs": func() []byte {
			return forked.export(t, 0, n, l.leaves, forked.checkpoint(t, n))
		},
	}
}

func renumber(t *testing.T, leaves [][]byte) [][]byte {
	out := make([][]byte, 0, len(leaves))
	for n, data := range leaves {
		entry := &skerryv1.AuditEntry{}
		if err := proto.Unmarshal(data, entry); err != nil {
			t.Fatal(err)
		}
		entry.Number, entry.Index = uint64(n), uint64(10+n)
		data, _ = Encode(entry)
		out = append(out, data)
	}
	return out
}

// The verifier has the site ID and one checkpoint of the whole log that it kept.
func TestTenThousandTamperingsAreFound(t *testing.T) {
	const count = 10_000
	rng := rand.New(rand.NewPCG(3, 4))
	l, forked := newTestLog(t, 1, 24), newTestLog(t, 2, 24)
	for i := range forked.leaves {
		entry := &skerryv1.AuditEntry{}
		if err := proto.Unmarshal(forked.leaves[i], entry); err != nil {
			t.Fatal(err)
		}
		entry.Verb = "delete"
		forked.leaves[i], _ = Encode(entry)
	}
	kept := l.checkpoint(t, 24)
	whole := l.export(t, 0, 24, l.leaves, kept)
	trusted := Trusted{SiteID: l.siteID, Checkpoints: []string{kept}}
	if _, err := VerifyExport(bytes.NewReader(whole), trusted); err != nil {
		t.Fatal(err)
	}
	kinds := tamperings(t, l, forked, whole, rng)
	var names []string
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	found := map[string]int{}
	for n := 0; n < count; n++ {
		name := names[n%len(names)]
		file := kinds[name]()
		if file == nil || bytes.Equal(file, whole) {
			n--
			continue
		}
		if _, err := VerifyExport(bytes.NewReader(file), trusted); err == nil {
			t.Fatalf("tampering %d was not found: %s", n, name)
		}
		found[name]++
	}
	t.Logf("%d tamperings, all found: %v", count, found)
}

func TestTruncationIsFoundOnlyAgainstACheckpointThatIsBrought(t *testing.T) {
	l := newTestLog(t, 1, 40)
	short := l.export(t, 0, 30, l.leaves[:30], l.checkpoint(t, 30))
	if _, err := VerifyExport(bytes.NewReader(short), Trusted{SiteID: l.siteID}); err != nil {
		t.Fatalf("by itself it is a true export of an earlier moment: %v", err)
	}
	if _, err := VerifyExport(bytes.NewReader(short), Trusted{SiteID: l.siteID, Checkpoints: []string{l.checkpoint(t, 40)}}); err == nil {
		t.Error("the missing entries were not found")
	}
}

func FuzzVerifyExport(f *testing.F) {
	l := newTestLog(f, 1, 5)
	f.Add(l.export(f, 0, 5, l.leaves, l.checkpoint(f, 5)))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, _ = VerifyExport(bytes.NewReader(file), Trusted{SiteID: l.siteID}) // must only not panic
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	l := newTestLog(f, 1, 5)
	keys, err := KeysOf(l.siteID, l.trust)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.checkpoint(f, 5))
	f.Add("skerry.dev/audit/x\n5\nAAAA\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, by, err := OpenCheckpoint(text, keys)
		if err == nil && (by == "" || c.SiteID != l.siteID && c.Size > 5) {
			t.Errorf("%q was believed", text)
		}
	})
}
