package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	// steady are the objects that every commit changes and none removes.
	steady = 4
	// seasonLasts is how many commits an object lives that is then removed.
	seasonLasts = 3
)

// source is a Git repository that is committed to for ever.
type source struct {
	*testenv.Repository

	mu sync.Mutex
	// commits by revision, numbered from 1.
	commits map[string]int
	head    string
	removed map[string]time.Time
	stop    context.CancelFunc
	stopped chan error
}

func newSource(ctx context.Context, after func(func())) (*source, error) {
	server, err := testenv.StartGit(ctx)
	if err != nil {
		return nil, err
	}
	after(server.Stop)
	made, err := server.Repository(ctx, "fleet")
	if err != nil {
		return nil, err
	}
	s := &source{Repository: made, commits: map[string]int{}, removed: map[string]time.Time{}}
	return s, s.commit(ctx)
}

// season names the object that the n-th commit has besides the steady ones.
func season(n int) string { return fmt.Sprintf("season-%d", n/seasonLasts) }

// objectsOf names what the n-th commit has.
func objectsOf(n int) []string {
	names := []string{season(n)}
	for i := range steady {
		names = append(names, fmt.Sprintf("steady-%d", i))
	}
	return names
}

// commit changes all objects. That of a season is removed with its end.
func (s *source) commit(ctx context.Context) error {
	n := s.count() + 1
	files, list := map[string]string{}, "resources:\n"
	for _, name := range objectsOf(n) {
		files["apps/"+name+".yaml"] = configMap(name, n)
		list += "- " + name + ".yaml\n"
	}
	files["apps/kustomization.yaml"] = list
	maps.Copy(files, chartFiles(n))
	if last := season(n - 1); n > 1 && last != season(n) {
		s.mu.Lock()
		s.removed[last] = time.Now()
		s.mu.Unlock()
	}
	made, err := s.Commit(ctx, fmt.Sprintf("Change number %d", n), files)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = "main@sha1:" + made
	s.commits[s.head] = n
	return nil
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.commits)
}

// Head is the last revision.
func (s *source) Head() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head
}

// Number is that of the commit of a revision; zero for none.
func (s *source) Number(revision string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits[revision]
}

// Removed is when which objects were taken out.
func (s *source) Removed() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.removed)
}

// Go commits every so often until Rest.
func (s *source) Go(ctx context.Context, every time.Duration) {
	ctx, s.stop = context.WithCancel(ctx)
	s.stopped = make(chan error, 1)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				s.stopped <- nil
				return
			case <-tick.C:
				if err := s.commit(context.WithoutCancel(ctx)); err != nil {
					s.stopped <- err
					return
				}
			}
		}
	}()
}

// Rest ends the commits and says whether any went wrong.
func (s *source) Rest() error {
	s.stop()
	return <-s.stopped
}

func configMap(name string, n int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  commit: \"%d\"\n", name, n)
}
