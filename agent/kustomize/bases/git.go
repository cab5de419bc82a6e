package bases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/headwater-dev/headwater/internal/gitobjects"
)

const (
	// largeObject is the size from which a file is streamed from the packfile
	// rather than held in memory.
	largeObject = 1 << 20
	// mostFiles of a commit are looked at.
	mostFiles = 20_000
	// packShare is how much larger than what it is to give a packfile may be: a
	// repository has more than its manifests.
	packShare = 4
)

// repository fetches the newest state of a reference, without history, and
// returns all files of it: a base may name others beside it.
func (f *Fetcher) repository(ctx context.Context, at place, most int64) (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "headwater-base-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	endpoint, err := transport.NewEndpoint(at.url)
	if err != nil {
		return nil, err
	}
	remote := githttp.NewClientWithOptions(&http.Client{Transport: bounded{f.client.Transport, most * packShare}, CheckRedirect: checkRedirect},
		&githttp.ClientOptions{RedirectPolicy: githttp.FollowInitialRedirects})
	session, err := remote.NewUploadPackSession(endpoint, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = session.Close() }()
	refs, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the references: %w", plain(err))
	}
	commit, want, err := find(refs, at.ref)
	if err != nil {
		return nil, err
	}
	objects := filesystem.NewStorageWithOptions(osfs.New(dir, osfs.WithBoundOS()), cache.NewObjectLRU(largeObject),
		filesystem.Options{ExclusiveAccess: true, LargeObjectThreshold: largeObject})
	if err := download(ctx, session, refs.Capabilities, want, objects); err != nil {
		return nil, err
	}
	return read(ctx, &gitobjects.Bounded{Storage: objects}, commit, most)
}

// find finds a branch, a tag or a commit, and what to ask for to get it.
func find(refs *packp.AdvRefs, ref string) (commit, want plumbing.Hash, err error) {
	if ref == "" {
		if refs.Head == nil {
			return commit, want, errors.New("the repository has no default branch: add ?ref=")
		}
		return *refs.Head, *refs.Head, nil
	}
	for _, name := range []string{"refs/tags/" + ref, "refs/heads/" + ref, ref} {
		if found, ok := refs.References[name]; ok {
			if peeled, ok := refs.Peeled[name]; ok {
				return peeled, found, nil
			}
			return found, found, nil
		}
	}
	if !plumbing.IsHash(ref) {
		return commit, want, fmt.Errorf("it has no branch or tag %q", ref)
	}
	return plumbing.NewHash(ref), plumbing.NewHash(ref), nil
}

func download(ctx context.Context, session transport.UploadPackSession, can *capability.List, want plumbing.Hash, to *filesystem.Storage) error {
	request := packp.NewUploadPackRequestFromCapabilities(can)
	request.Wants = []plumbing.Hash{want}
	for _, wish := range []capability.Capability{capability.Shallow, capability.NoProgress} {
		if !can.Supports(wish) {
			continue
		}
		if err := request.Capabilities.Set(wish); err != nil {
			return err
		}
		if wish == capability.Shallow {
			request.Depth = packp.DepthCommits(1)
		}
	}
	response, err := session.UploadPack(ctx, request)
	if err != nil {
		return fmt.Errorf("fetching commit %s: %w", want, plain(err))
	}
	defer func() { _ = response.Close() }()
	var answer io.Reader = response
	switch {
	case request.Capabilities.Supports(capability.Sideband64k):
		answer = sideband.NewDemuxer(sideband.Sideband64k, response)
	case request.Capabilities.Supports(capability.Sideband):
		answer = sideband.NewDemuxer(sideband.Sideband, response)
	}
	if err := packfile.UpdateObjectStorage(to, answer); err != nil {
		return fmt.Errorf("fetching commit %s: %w", want, plain(err))
	}
	return nil
}

// read reads the regular files of a commit.
func read(ctx context.Context, objects storer.EncodedObjectStorer, hash plumbing.Hash, most int64) (map[string][]byte, error) {
	commit, err := object.GetCommit(objects, hash)
	if err != nil {
		return nil, fmt.Errorf("reading commit %s: %w", hash, err)
	}
	tree, err := commit.Tree()
	if err != nil {
		return nil, fmt.Errorf("reading commit %s: %w", hash, err)
	}
	files := map[string][]byte{}
	walker := object.NewTreeWalker(tree, true, nil)
	defer walker.Close()
	for seen := 0; ; seen++ {
		name, entry, err := gitobjects.Next(walker, objects)
		switch {
		case errors.Is(err, io.EOF):
			return files, nil
		case err != nil:
			return nil, fmt.Errorf("reading commit %s: %w", hash, err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case seen >= mostFiles:
			return nil, fmt.Errorf("%w: it has more than %d files", ErrTooLarge, mostFiles)
		case entry.Mode != filemode.Regular && entry.Mode != filemode.Executable && entry.Mode != filemode.Deprecated:
			continue
		}
		if most, err = readFile(objects, files, name, entry.Hash, most); err != nil {
			return nil, err
		}
	}
}

// readFile reads one file, and returns how many bytes are left for others.
func readFile(objects storer.EncodedObjectStorer, to map[string][]byte, name string, hash plumbing.Hash, most int64) (left int64, err error) {
	blob, err := object.GetBlob(objects, hash)
	if err != nil {
		return 0, fmt.Errorf("reading %q: %w", name, err)
	}
	if blob.Size > most {
		return 0, fmt.Errorf("%w: with %q there is more than may be fetched for one build", ErrTooLarge, name)
	}
	content, err := blob.Reader()
	if err != nil {
		return 0, fmt.Errorf("reading %q: %w", name, err)
	}
	defer func() { _ = content.Close() }()
	to[name], err = io.ReadAll(io.LimitReader(content, most))
	return most - int64(len(to[name])), err
}

// bounded ends answers that are too long.
type bounded struct {
	http.RoundTripper
	most int64
}

// RoundTrip sends the request and bounds the answer's body.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	most := b.most
	if request.Method == http.MethodGet || response.StatusCode >= http.StatusMultipleChoices {
		most = maxListBytes
	}
	response.Body = &limited{response.Body, most}
	return response, nil
}

type limited struct {
	io.ReadCloser
	left int64
}

// Read fails when there is more than the limit.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
