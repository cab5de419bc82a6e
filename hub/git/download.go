package git

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/headwater-dev/headwater/internal/gitobjects"
)

const (
	// largeObject is the size from which a file is streamed from the packfile
	// rather than held in memory.
	largeObject = 4 << 20
	// keptBytes bounds the objects in memory that others may be made of, and that
	// will be read: all of them in most repositories.
	keptBytes = 32 << 20
)

// Download fetches a commit into a store at dir, without history where the
// server can. The references are those that List returned; the target is how
// the commit was found there. The store can be read until the session is closed,
// by one goroutine; of it at most 1 MiB is read as a commit, and 32 MiB as trees.
func (s *Session) Download(ctx context.Context, refs *packp.AdvRefs, t Target, commit plumbing.Hash, dir string) (storer.EncodedObjectStorer, error) {
	objects, err := s.download(ctx, refs.Capabilities, wants(refs, t, commit), dir)
	if err == nil {
		_, err = objects.EncodedObject(plumbing.CommitObject, commit)
	}
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, s.Failed(ctx, "fetching commit "+commit.String(), errors.New("no branch and no tag has it"))
	}
	if err != nil {
		return nil, s.Failed(ctx, "fetching commit "+commit.String(), err)
	}
	return objects, nil
}

// wanted is what a server is asked for.
type wanted struct {
	hashes []plumbing.Hash
	// history says that the commit may lie behind those.
	history bool
}

// wants says how to ask for the commit. Not every server gives out objects that
// no reference names: then it is looked for behind the references.
func wants(refs *packp.AdvRefs, t Target, commit plumbing.Hash) wanted {
	// A tag that leads to the commit is asked for by its own name.
	if tip, found, ok := t.Find(refs); ok && found == commit {
		return wanted{hashes: []plumbing.Hash{tip}}
	}
	can := refs.Capabilities
	named := slices.Contains(slices.Collect(maps.Values(refs.References)), commit)
	if named || can.Supports(capability.AllowReachableSHA1InWant) || can.Supports("allow-any-sha1-in-want") {
		return wanted{hashes: []plumbing.Hash{commit}}
	}
	if tip, ok := refs.References[branches+t.label]; ok {
		return wanted{hashes: []plumbing.Hash{tip}, history: true}
	}
	all := wanted{history: true}
	for name, tip := range refs.References {
		if strings.HasPrefix(name, branches) || strings.HasPrefix(name, tags) {
			all.hashes = append(all.hashes, tip)
		}
	}
	return all
}

func (s *Session) download(ctx context.Context, can *capability.List, want wanted, dir string) (storer.EncodedObjectStorer, error) {
	request := packp.NewUploadPackRequestFromCapabilities(can)
	request.Wants = want.hashes
	if can.Supports(capability.Shallow) && !want.history {
		request.Depth = packp.DepthCommits(1)
		if err := request.Capabilities.Set(capability.Shallow); err != nil {
			return nil, err
		}
	}
	if can.Supports(capability.NoProgress) {
		if err := request.Capabilities.Set(capability.NoProgress); err != nil {
			return nil, err
		}
	}
	response, err := s.fetch.UploadPack(ctx, request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Close() }()
	files, kept := osfs.New(dir, osfs.WithBoundOS()), newRecent(keptBytes)
	if err := receive(ctx, s.packfile(request.Capabilities, response), files, kept); err != nil {
		return nil, err
	}
	stored := filesystem.NewStorageWithOptions(files, kept,
		filesystem.Options{ExclusiveAccess: true, KeepDescriptors: true, LargeObjectThreshold: largeObject})
	s.stores = append(s.stores, stored)
	return &gitobjects.Bounded{Storage: stored}, nil
}

// demultiplexed is the packfile in an answer that may carry messages as well.
func demultiplexed(used *capability.List, answer io.Reader) io.Reader {
	switch {
	case used.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, answer)
	case used.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, answer)
	}
	return answer
}
