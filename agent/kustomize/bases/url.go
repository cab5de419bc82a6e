package bases

import (
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"
)

// place is what a URL names.
type place struct {
	// url of the file or of the repository.
	url string
	// git says that it is a repository; dir and ref are where in it.
	git      bool
	dir, ref string
}

// parse reads the spellings of kustomize. A path that ends as that of a manifest
// is a file, anything else is a repository.
func parse(text string) (place, error) {
	trimmed, forced := strings.CutPrefix(strings.TrimSpace(text), "git::")
	if strings.HasPrefix(strings.ToLower(trimmed), "github.com/") {
		trimmed = "https://" + trimmed
	}
	u, err := url.Parse(trimmed)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return place{}, errors.New("only https:// and http:// are fetched: use a GitRepository for all else")
	case strings.Contains(u.Host, "%"):
		return place{}, errors.New("its host has an escape or a zone: name the host plainly")
	case u.User != nil:
		return place{}, errors.New("it has credentials in its URL: use a GitRepository with a Secret")
	}
	query := u.Query()
	ref := query.Get("ref")
	if ref == "" {
		ref = query.Get("version")
	}
	isManifest := slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(u.Path))
	if isManifest && !forced && ref == "" {
		u.Fragment = ""
		return place{url: u.String()}, nil
	}
	repository, dir := split(u.Path)
	if strings.Trim(repository, "/") == "" {
		return place{}, errors.New("it names no repository")
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = repository, "", "", ""
	return place{url: u.String(), git: true, dir: strings.TrimPrefix(path.Clean("/"+dir), "/"), ref: ref}, nil
}

// split divides a path into that of the repository and that in it: at a double
// slash, after .git, as Azure does, or after the first two names.
func split(whole string) (repository, dir string) {
	if repository, dir, found := strings.Cut(whole, "//"); found {
		return repository, dir
	}
	if at := strings.Index(whole+"/", ".git/"); at >= 0 {
		return whole[:at+len(".git")], whole[min(len(whole), at+len(".git/")):]
	}
	names := strings.Split(strings.Trim(whole, "/"), "/")
	own := 2
	if at := slices.Index(names, "_git"); at >= 0 {
		own = at + 2
	}
	own = min(own, len(names))
	return "/" + strings.Join(names[:own], "/"), strings.Join(names[own:], "/")
}
