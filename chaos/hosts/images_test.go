//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
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

// keepUnused restarts the agent of a host with this for its images.
func keepUnused(t *testing.T, h *Host, age string) {
	t.Helper()
	config, err := os.ReadFile(h.Config())
	if err == nil {
		err = errors.Join(os.WriteFile(h.Config(), append(config, "images: {keepUnused: "+age+"}\n"...), 0o600), h.StopAgent(), h.StartAgent())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnusedImagesGoButNotTheCopiesOfTheSite(t *testing.T) {
	r := newSite(t, 4, 0)
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, web(4))
	awaitHealthy(t, r, "web", 4)
	held := storedImage(t, r, 4)
	for _, h := range r.Hosts {
		keepUnused(t, h, "2s")
	}
	settled(t, r)
	awaitHealthy(t, r, "web", 4)
	storedImage(t, r, 4) // it is used everywhere
	skerry(t, r, nil, "delete", "workload", "web")
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(status.GetNodes(), func(n *skerryv1.Node) bool { return n.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER })
	plain := r.Host(status.GetNodes()[at].GetName())
	await(t, r, "the image to be gone", patience, func(ctx context.Context) error {
		out, err := plain.Command(ctx, nil, "ctr", "-n", "skerry", "images", "ls", "-q")
		if err == nil && strings.Contains(out, held.GetDigest()) {
			err = errors.New(out)
		}
		return err
	})
	storedImage(t, r, 3)
	await(t, r, "describe to tell what went", patience, func(ctx context.Context) error {
		told, err := r.Skerry(ctx, nil, "describe", "node", plain.Name)
		if err == nil && !strings.Contains(told, "ago: "+webImage) {
			err = errors.New(told)
		}
		return err
	})
	// It comes back to where it is needed, and goes everywhere when it is deleted.
	apply(t, r, web(4))
	awaitHealthy(t, r, "web", 4)
	storedImage(t, r, 4)
	skerry(t, r, nil, "delete", "workload", "web")
	await(t, r, "nothing to run", patience, func(context.Context) error {
		for _, h := range r.Hosts {
			if left := containerPIDs(t, h); len(left) > 0 {
				return fmt.Errorf("%s runs %v", h.Name, left)
			}
		}
		return nil
	})
	skerry(t, r, nil, "delete", "image", webImage)
	await(t, r, "no copy to be left", patience, func(ctx context.Context) error {
		for _, h := range r.Hosts {
			out, err := h.Command(ctx, nil, "ctr", "-n", "skerry", "images", "ls", "-q")
			if err != nil || strings.TrimSpace(out) != "" {
				return fmt.Errorf("%s holds %s: %w", h.Name, out, err)
			}
		}
		return nil
	})
}
