package manifest

import (
	"fmt"
	"math/big"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestCPUIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		milli := rapid.Int64Range(1, maxCPUMilli).Draw(t, "milli")
		for _, text := range []string{
			fmt.Sprintf("%dm", milli),
			fmt.Sprintf("%d.%03d", milli/1000, milli%1000),
			fmt.Sprintf("%d.%03d000", milli/1000, milli%1000),
		} {
			if got, err := CPU(text); err != nil || got != milli {
				t.Fatalf("CPU(%q) = %d, %v, want %d", text, got, err, milli)
			}
		}
	})
}

func TestMemoryIsExactOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Int64Range(0, 999_999_999_999_999_999).Draw(t, "count")
		suffix := rapid.SampledFrom([]string{"", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"}).Draw(t, "suffix")
		want := new(big.Int).Mul(big.NewInt(count), big.NewInt(memoryUnits[suffix]))
		got, err := Memory(fmt.Sprintf("%d%s", count, suffix))
		if (err == nil) != want.IsInt64() || (err == nil && got != want.Int64()) {
			t.Fatalf("Memory(%d%s) = %d, %v, want %s", count, suffix, got, err, want)
		}
	})
}

func TestQuantitiesThatAreNone(t *testing.T) {
	for _, text := range []string{"", "m", "-1", "+1", "1e3", "0x10", "1_000", "1.", ".5", "1.5m", " 1", "1 ", "NaN", "Inf", "0", "0m", "0.0001", "1025", "99999999", "١"} {
		if milli, err := CPU(text); err == nil {
			t.Errorf("CPU(%q) = %d", text, milli)
		}
	}
	for _, text := range []string{"", "Mi", "-1", "+1", "1.5Gi", "1K", "1mi", "1MiB", "1e9", "9223372036854775807Ti", " 1", "99999999999999999999"} {
		if bytes, err := Memory(text); err == nil {
			t.Errorf("Memory(%q) = %d", text, bytes)
		}
	}
	for _, text := range []string{"", "5", "-1s", "1d", "1 s", "99999999999h"} {
		if d, err := Duration(text); err == nil {
			t.Errorf("Duration(%q) = %s", text, d)
		}
	}
}

// TestAnswersCanBeApplied: whatever workload the site holds, its JSON is a
// manifest that gives the same workload.
func TestAnswersCanBeApplied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workload := drawWorkload(t)
		Default(workload)
		if err := Validate(&skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: workload}}); err != nil {
			t.Fatalf("the generator made something invalid: %v", err)
		}
		encoded, err := protojson.MarshalOptions{Indent: "\t"}.Marshal(workload)
		if err != nil {
			t.Fatal(err)
		}
		resources, err := Parse("web.json", encoded)
		if err != nil {
			t.Fatalf("%v\n%s", err, encoded)
		}
		if got := resources[0].GetWorkload(); !proto.Equal(got, workload) {
			t.Fatalf("got  %v\nwant %v", got, workload)
		}
	})
}

// TestDefaultIsIdempotent: the API fills in what Parse has filled in before.
func TestDefaultIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workload := drawWorkload(t)
		Default(workload)
		again := proto.CloneOf(workload)
		Default(again)
		if !proto.Equal(workload, again) {
			t.Fatalf("got  %v\nwant %v", again, workload)
		}
	})
}

func drawWorkload(t *rapid.T) *skerryv1.Workload {
	label := rapid.StringMatching(`[A-Za-z0-9]([-A-Za-z0-9_./]{0,10}[A-Za-z0-9])?`)
	text := rapid.StringMatching(`[ -~äöü€]{0,20}`)
	w := &skerryv1.Workload{
		Kind:     "Workload",
		Name:     rapid.StringMatching(`[a-z]([-a-z0-9]{0,10}[a-z0-9])?`).Draw(t, "name"),
		Labels:   rapid.MapOfN(label, label, 0, 3).Draw(t, "labels"),
		Replicas: proto.Uint32(rapid.Uint32Range(0, maxReplicas).Draw(t, "replicas")),
		Container: &skerryv1.Container{
			Image:        rapid.StringMatching(`[a-z][a-z0-9./-]{0,20}(:[a-z0-9.]{1,5})?`).Draw(t, "image"),
			Args:         rapid.SliceOfN(text, 0, 4).Draw(t, "args"),
			Env:          rapid.MapOfN(rapid.StringMatching(`[A-Z_]{1,8}`), text, 0, 4).Draw(t, "env"),
			Ports:        []*skerryv1.Port{{Name: "http", Port: rapid.Uint32Range(1, 65535).Draw(t, "port")}},
			ReadOnlyRoot: rapid.Bool().Draw(t, "readOnlyRoot"),
		},
		ResourceVersion: rapid.Uint64().Draw(t, "resourceVersion"),
	}
	if rapid.Bool().Draw(t, "health") {
		w.Health = &skerryv1.Health{Tcp: &skerryv1.TcpCheck{Port: "http"}, Failures: rapid.Uint32Range(0, 100).Draw(t, "failures")}
	}
	if rapid.Bool().Draw(t, "hostPath") {
		w.Container.Mounts = []*skerryv1.Mount{{Target: "/data", HostPath: "/srv"}}
	}
	return w
}
