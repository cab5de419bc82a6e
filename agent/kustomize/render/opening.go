package render

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// openingTimeout bounds the time that key services take for one build, in all.
	openingTimeout = time.Minute
	// mostOpenings is how often a build may find more encrypted files behind those
	// that were opened.
	mostOpenings = 100
)

// outside is what a build needs besides the artifact, as far as is known.
type outside struct {
	// fetched is from other places, by URL; room is how many bytes more may come.
	fetched map[string]remote
	room    int64
	// opened are files, decrypted; patience is how much longer that may take.
	opened   map[string][]byte
	patience time.Duration
}

// sealedFile is an encrypted file, and the name that says its format.
type sealedFile struct {
	as      string
	content []byte
}

// sealedError says that a build needs files, by path, that were not decrypted yet.
type sealedError struct{ files map[string]sealedFile }

func (e *sealedError) Error() string { return fmt.Sprintf("%d files are encrypted", len(e.files)) }

// buildOpened builds and decrypts. A build that waits for a key service holds
// neither a place among those that run nor the artifact's files: the encrypted
// files that it finds are opened after it, and it is begun anew. There are as many
// that wait as ask for builds; a bound of their own would have those with keys at
// hand wait for those whose Vault is silent.
func (r *Renderer) buildOpened(ctx context.Context, req Request) (result, error) {
	known := &outside{fetched: map[string]remote{}, room: remoteBytes, opened: map[string][]byte{}, patience: r.options.opening}
	for range mostOpenings {
		made, err := r.buildWithRemotes(ctx, req, known)
		var sealed *sealedError
		switch {
		case err == nil:
			return known.finish(ctx, req.Keys, made)
		case !errors.As(err, &sealed):
			return result{}, err
		}
		if err := known.open(ctx, req.Keys, sealed.files); err != nil {
			return result{}, err
		}
	}
	return result{}, fmt.Errorf("encrypted files lead to others more than %d times", mostOpenings)
}

// open decrypts files.
func (o *outside) open(ctx context.Context, keys Keys, files map[string]sealedFile) error {
	return o.wait(ctx, func(ctx context.Context) error {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			opened, err := keys.File(ctx, files[name].as, files[name].content)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			o.opened[name] = opened
		}
		return nil
	})
}

// finish decrypts the objects that were built.
func (o *outside) finish(ctx context.Context, keys Keys, made result) (result, error) {
	err := o.wait(ctx, func(ctx context.Context) error { return open(ctx, keys, made.objects) })
	opened := of(made.objects)
	opened.short, opened.moving = made.short, made.moving
	return opened, err
}

// wait decrypts for as long as the build's patience lasts. What passes while the
// build waits for a place is not counted.
func (o *outside) wait(ctx context.Context, decrypt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	begun := time.Now()
	defer func() { o.patience -= time.Since(begun) }()
	return decrypt(ctx)
}
