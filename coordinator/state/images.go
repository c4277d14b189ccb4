package state

import (
	"regexp"
	"slices"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	maxImages    = 10_000
	maxImageName = 255
)

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

var images = table[*skerryv1.Image]{
	name:    "images",
	key:     func(i *skerryv1.Image) string { return i.GetName() },
	indexes: map[string]func(*skerryv1.Image) string{"digest": (*skerryv1.Image).GetDigest},
	ordinal: imagesOrdinal,
}

// addImage records an image and a node that holds it. A name that is loaded
// again with other content means that content from then on; placements that
// run go on with theirs.
func (x *tx) addImage(change *sitev1.AddImage) (*sitev1.Outcome, error) {
	given := change.GetImage()
	about := "Image/" + bounded(given.GetName(), maxImageName)
	if given.GetName() == "" || len(given.GetName()) > maxImageName {
		return nil, problem.New(problem.Invalid, about, "an image needs a name of at most %d bytes", maxImageName).WithField("name")
	}
	if !digestForm.MatchString(given.GetDigest()) {
		return nil, problem.New(problem.Invalid, about, "%q is not a digest such as sha256:...", bounded(given.GetDigest(), maxImageName)).WithField("digest")
	}
	image := &skerryv1.Image{
		Kind: "Image", Name: given.GetName(), Generation: 1, Created: x.time,
		Digest: given.GetDigest(), Size: max(0, given.GetSize()), DiskBytes: max(0, given.GetDiskBytes()),
	}
	old := images.get(x.rows, given.GetName())
	switch {
	case old == nil && x.counts[imagesOrdinal] == maxImages:
		return nil, exhausted("images", maxImages)
	case old == nil:
	case old.GetDigest() == image.GetDigest():
		image.Created, image.Generation, image.Nodes = old.GetCreated(), old.GetGeneration(), old.GetNodes()
	default:
		image.Created, image.Generation = old.GetCreated(), old.GetGeneration()+1
	}
	for _, node := range given.GetNodes() {
		if nodes.get(x.rows, node) != nil {
			image.Nodes = with(image.Nodes, node)
		}
	}
	x.putImage(image)
	x.inform(subject{kind: "Image", name: image.GetName()}, "ImageLoaded", "%s, %d bytes", image.GetDigest(), image.GetSize())
	return &sitev1.Outcome{}, nil
}

func (x *tx) putImage(image *skerryv1.Image) {
	image.ResourceVersion = x.index
	images.put(x, image)
}

// holds takes over which images a node says that it holds wholly.
func (x *tx) holds(node string, digests []string) {
	for _, old := range images.list(x.rows) {
		has := slices.Contains(digests, old.GetDigest())
		if has == slices.Contains(old.GetNodes(), node) {
			continue
		}
		image := shallow(old)
		if has {
			image.Nodes = with(old.GetNodes(), node)
		} else {
			image.Nodes = without(old.GetNodes(), node)
		}
		x.putImage(image)
	}
}

// with returns sorted names and one more, leaving the given slice alone.
func with(names []string, name string) []string {
	at, found := slices.BinarySearch(names, name)
	if found {
		return names
	}
	return slices.Insert(slices.Clone(names), at, name)
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

func (x *tx) deleteImage(name string, version uint64) (*sitev1.Outcome, error) {
	image := images.get(x.rows, name)
	if image == nil {
		return nil, missing("Image", name)
	}
	if err := checkVersion("Image/"+name, version, image.GetResourceVersion()); err != nil {
		return nil, err
	}
	for _, w := range workloads.list(x.rows) {
		if manifest.ImageOf(w.GetWorkload()) == name {
			return nil, problem.New(problem.Conflict, "Image/"+name, "workload %s uses it", w.GetWorkload().GetName()).
				WithHint("change or delete the workload first")
		}
	}
	for _, p := range placements.list(x.rows) {
		if manifest.ImageOf(p.GetSpec()) == name && mayStart(p) {
			return nil, problem.New(problem.Conflict, "Image/"+name, "placement %s uses it", p.GetName()).
				WithHint("wait until the update of workload %s is over, or delete the placement", p.GetWorkload())
		}
	}
	images.remove(x, name)
	x.inform(subject{kind: "Image", name: name}, "ImageDeleted", "%s", image.GetDigest())
	return &sitev1.Outcome{}, nil
}
