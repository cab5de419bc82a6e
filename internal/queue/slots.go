package queue

import (
	"slices"
	"sync"
)

// Slots count how much is running for each key, over several queues. It is
// safe for concurrent use.
type Slots[K comparable] struct {
	// Cap is how much may run at once for one key. It does not change.
	Cap int

	mu      sync.Mutex
	running map[K]int
	users   []user[K]
}

// user is one of the queues.
type user[K comparable] struct {
	// offer says whether the user takes over a slot of the key, which stays taken.
	offer func(key K) bool
	// freed tells it of a key that has a free slot again.
	freed func(key K)
}

// Take takes a slot of the key, if one is free.
func (s *Slots[K]) Take(key K) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[key] >= s.Cap {
		return false
	}
	if s.running == nil {
		s.running = map[K]int{}
	}
	s.running[key]++
	return true
}

// free gives a slot of a user back: to the next user that has a use for it, so that all have
// their turns, or else to whoever comes first.
func (s *Slots[K]) free(key K, own int) {
	s.mu.Lock()
	users := s.users
	s.mu.Unlock()
	for _, other := range slices.Concat(users[own+1:], users[:own]) {
		if other.offer(key) {
			return
		}
	}
	s.mu.Lock()
	s.running[key]--
	if s.running[key] == 0 {
		delete(s.running, key)
	}
	s.mu.Unlock()
	for _, user := range users {
		user.freed(key)
	}
}

// Running is how many slots of the key are taken.
func (s *Slots[K]) Running(key K) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[key]
}

// subscribe adds a user, and returns which one it is.
func (s *Slots[K]) subscribe(user user[K]) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = append(s.users, user)
	return len(s.users) - 1
}
