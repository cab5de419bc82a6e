package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// deltaWindow is how many objects a new one is compared with. They are few and
// small: it is not worth the time.
const deltaWindow = 0

// ErrMoved says that somebody else pushed first: the branch is not at the
// commit that the push would have replaced.
var ErrMoved = errors.New("somebody else pushed to the branch meanwhile")

// Update moves one reference.
type Update struct {
	// Name of the reference, such as refs/heads/main.
	Name plumbing.ReferenceName
	// Old is the commit that it is at; zero for one that does not exist. New is
	// where it goes.
	Old, New plumbing.Hash
}

// Pack is what a push brings.
type Pack struct {
	// Objects has the new objects.
	Objects storer.EncodedObjectStorer
	// New are their hashes: what the remote may not have.
	New []plumbing.Hash
	// Options are given to the server's hooks.
	Options map[string]string
}

// Push brings the objects to the remote and moves the references: all of them or
// none, where the server can; else one after the other, until one is refused. An
// error that wraps ErrMoved is worth another attempt from the new head; what the
// server refuses is not.
func (s *Session) Push(ctx context.Context, pack Pack, updates []Update) error {
	for len(updates) > 0 {
		moved, err := s.push(ctx, pack, updates)
		if err != nil {
			return err
		}
		updates = updates[moved:]
	}
	return nil
}

// push is one request. It returns how many of the references it has moved: all where
// the server does all or none.
func (s *Session) push(ctx context.Context, pack Pack, updates []Update) (moved int, err error) {
	conversation, err := s.remote.NewReceivePackSession(s.at(), s.auth)
	if err != nil {
		return 0, s.Failed(ctx, "opening", err)
	}
	defer func() { _ = conversation.Close() }()
	refs, err := conversation.AdvertisedReferencesContext(ctx)
	if err != nil && !errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return 0, s.Failed(ctx, "listing the references to push to", err)
	}
	if refs == nil {
		return 0, s.Failed(ctx, "pushing", transport.ErrEmptyRemoteRepository)
	}
	for _, update := range updates {
		if refs.References[update.Name.String()] != update.Old {
			return 0, fmt.Errorf("%s: %w", update.Name.Short(), ErrMoved)
		}
	}
	if !refs.Capabilities.Supports(capability.Atomic) {
		updates = updates[:1]
	}
	request, err := s.pushRequest(refs.Capabilities, pack, updates)
	if err != nil {
		return 0, err
	}
	report, err := conversation.ReceivePack(ctx, request)
	if s.answer != nil && s.answer.left < 0 {
		err = errPreludeTooLong // go-git says that something is missing
	}
	if err != nil && report == nil {
		return 0, s.Failed(ctx, "pushing", err)
	}
	if err != nil {
		return 0, s.rejected(ctx, updates, report)
	}
	return len(updates), nil
}

// pushRequest asks for the updates. What the server cannot do is an error where
// somebody counts on it.
func (s *Session) pushRequest(can *capability.List, pack Pack, updates []Update) (*packp.ReferenceUpdateRequest, error) {
	request := packp.NewReferenceUpdateRequestFromCapabilities(can)
	for _, update := range updates {
		request.Commands = append(request.Commands, &packp.Command{Name: update.Name, Old: update.Old, New: update.New})
	}
	if len(updates) > 1 {
		if err := request.Capabilities.Set(capability.Atomic); err != nil {
			return nil, err
		}
	}
	if len(pack.Options) > 0 {
		if !can.Supports(capability.PushOptions) {
			return nil, reconcile.Fail(OperationFailedReason, errors.New("the server takes no push options, and spec.git.push.options is set"))
		}
		if err := request.Capabilities.Set(capability.PushOptions); err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(pack.Options)) {
			request.Options = append(request.Options, &packp.Option{Key: key, Value: pack.Options[key]})
		}
	}
	var content bytes.Buffer
	if _, err := packfile.NewEncoder(&content, pack.Objects, false).Encode(pack.New, deltaWindow); err != nil {
		return nil, fmt.Errorf("packing %d new objects: %w", len(pack.New), err)
	}
	request.Packfile = io.NopCloser(&content)
	return request, nil
}

// rejected says why the server did not do what it was asked. It says in its own
// words when a branch has moved, so the branch is looked at instead.
func (s *Session) rejected(ctx context.Context, updates []Update, report *packp.ReportStatus) error {
	refs, err := s.List(ctx)
	if err != nil {
		return err
	}
	for _, update := range updates {
		if refs.References[update.Name.String()] != update.Old {
			return fmt.Errorf("%s: %w", update.Name.Short(), ErrMoved)
		}
	}
	cause := report.Error()
	return reconcile.Fail(OperationFailedReason, fmt.Errorf("%s refuses the push: %s", PlainURL(s.obj.Spec.URL), reconcile.OneLine(cause)))
}
