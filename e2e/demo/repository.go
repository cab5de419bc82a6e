package main

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// imageMarker behind the tag of the shop's image has the hub put newer ones in
// its place.
const imageMarker = ` # {"$imagepolicy": "flux-system:shop:tag"}`

//go:embed all:repository
var embedded embed.FS

// repository is the Git repository that is deployed, behind a password.
type repository struct {
	*testenv.Repository
	user, password string
	files          map[string]string
}

// newRepository starts a Git server with the embedded files as first commit.
func newRepository(ctx context.Context, after func(func())) (*repository, error) {
	server, err := testenv.StartGit(ctx)
	if err != nil {
		return nil, err
	}
	after(server.Stop)
	made, err := server.Repository(ctx, "fleet")
	if err != nil {
		return nil, err
	}
	r := &repository{Repository: made, user: "headwater", password: rand.Text(), files: map[string]string{}}
	made.Protect(r.user, r.password)
	err = fs.WalkDir(embedded, "repository", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := embedded.ReadFile(path)
		r.files[strings.TrimPrefix(path, "repository/")] = string(content)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, r.push(ctx, "A shop for three clusters", r.files)
}

func (r *repository) push(ctx context.Context, message string, files map[string]string) error {
	maps.Copy(r.files, files)
	_, err := r.Commit(ctx, message, files)
	return err
}

// release commits a new image and a new greeting.
func (r *repository) release(ctx context.Context, version, greeting string) error {
	return r.push(ctx, "Release "+version, map[string]string{
		"base/kustomization.yaml": setLine(r.files["base/kustomization.yaml"], "newTag: ", strconv.Quote(version)+imageMarker),
		"base/settings.yaml":      setLine(r.files["base/settings.yaml"], "GREETING: ", greeting),
	})
}

// endSale removes the banner: from what is built, then the file itself.
func (r *repository) endSale(ctx context.Context) error {
	const path = "base/kustomization.yaml"
	without := strings.Replace(r.files[path], "- banner.yaml\n", "", 1)
	if err := r.push(ctx, "End the sale", map[string]string{path: without}); err != nil {
		return err
	}
	_, err := r.Remove(ctx, "Remove the banner", "base/banner.yaml")
	return err
}

// endsWith holds when one commit of that message, and nothing else, follows the
// one before.
func (r *repository) endsWith(ctx context.Context, before, message string) error {
	said, err := r.Messages(ctx, before)
	if err == nil && !slices.Equal(said, []string{message}) {
		err = fmt.Errorf("the commits of the repository since are %q, and not %q", said, message)
	}
	return err
}

// cloneURL has the credentials in it, for a person to clone from.
func (r *repository) cloneURL() (string, error) {
	parsed, err := url.Parse(r.URL)
	if err != nil {
		return "", fmt.Errorf("parsing the repository's URL: %w", err)
	}
	parsed.User = url.UserPassword(r.user, r.password)
	return parsed.String(), nil
}

// setLine replaces what follows a prefix, to the end of its line.
func setLine(text, prefix, value string) string {
	before, after, _ := strings.Cut(text, prefix)
	_, rest, _ := strings.Cut(after, "\n")
	return before + prefix + value + "\n" + rest
}
