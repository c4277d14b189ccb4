//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// storedImage is the site's only image, once so many nodes hold it.
func storedImage(t *testing.T, r *Rig, holders int) (image *skerryv1.Image) {
	t.Helper()
	await(t, r, fmt.Sprintf("%d copies of the image", holders), patience, func(ctx context.Context) error {
		c, err := r.Client()
		if err != nil {
			return err
		}
		listed, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Image"}))
		if err != nil {
			return err
		}
		image = listed.Msg.GetResources()[0].GetImage()
		if len(image.GetNodes()) != holders {
			return fmt.Errorf("held by %v", image.GetNodes())
		}
		return nil
	})
	return image
}

// fetches what the host's node gets when it asks another one for an image
// without a ticket: somebody may have its disk.
func fetchWithout(t *testing.T, thief, from *Host, digest string) int {
	t.Helper()
	dialer, err := thief.Dialer()
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+from.API()+"/blob/"+digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Skerry-Image", digest)
	request.Header.Set("Skerry-Ticket", strings.Repeat("00", 16))
	response, err := dialer.HTTPClient(mtls.Content, mtls.ExpectNode(from.Name)).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close() // only the status matters
	return response.StatusCode
}

func TestANodeGetsTheImagesThatItNeedsAndNoOthers(t *testing.T) {
	r := newSite(t, 4, 0)
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var voters []string
	for _, node := range status.GetNodes() {
		if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			voters = append(voters, node.GetName())
		}
	}
	slices.Sort(voters)
	plain := r.Hosts[slices.IndexFunc(r.Hosts, func(h *Host) bool { return !slices.Contains(voters, h.Name) })]
	loadImage(t, r, "web.tar", webImage)
	image := storedImage(t, r, 3)
	if !slices.Equal(image.GetNodes(), voters) {
		t.Errorf("copies are on %v, voters are %v", image.GetNodes(), voters)
	}
	for _, voter := range voters {
		if got := fetchWithout(t, plain, r.Host(voter), image.GetDigest()); got != http.StatusForbidden {
			t.Errorf("%s answered %d", voter, got)
		}
	}
	await(t, r, "the refusals to be in the audit log", patience, func(ctx context.Context) error {
		listed, err := r.Skerry(ctx, nil, "audit", "list", "-o", "json")
		if err == nil && (!strings.Contains(listed, "spiffe://"+Site+"/node/"+plain.Name) || !strings.Contains(listed, "Image/"+image.GetDigest())) {
			err = fmt.Errorf("it lists %s", listed)
		}
		return err
	})
	// The right comes with a placement; a plain node judges as voters do, also when
	// it is cut off from them.
	apply(t, r, web(4))
	awaitHealthy(t, r, "web", 4)
	storedImage(t, r, 4)
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == plain })
	another, err := r.Add(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	if got := fetchWithout(t, another, plain, image.GetDigest()); got != http.StatusForbidden {
		t.Errorf("the plain node answered %d", got)
	}
	if err := r.Cut(t.Context(), []*Host{plain, another}, rest); err != nil {
		t.Fatal(err)
	}
	answersAlone(t, r, plain)
	if got := fetchWithout(t, another, plain, image.GetDigest()); got != http.StatusForbidden {
		t.Errorf("the plain node, cut off, answered %d", got)
	}
	before := containerPIDs(t, plain)
	for _, one := range before {
		name, _, _ := strings.Cut(one, "=")
		if _, err := plain.Command(t.Context(), nil, "ctr", "-n", "skerry", "tasks", "kill", "--signal", "SIGKILL", name); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, "what ended on the node alone to run again", patience, func(context.Context) error {
		if now := containerPIDs(t, plain); len(now) == 0 || slices.Equal(now, before) {
			return errors.New("it does not")
		}
		return nil
	})
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
}
