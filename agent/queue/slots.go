package queue

import "sync"

// Slots count how much is running for each key, over several queues. It is
// safe for concurrent use.
type Slots[K comparable] struct {
	// Cap is how much may run at once for one key. It does not change.
	Cap int

	mu      sync.Mutex
	running map[K]int
	// freed are told of a key that has a free slot again.
	freed []func(K)
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

// Free gives a slot back.
func (s *Slots[K]) Free(key K) {
	s.mu.Lock()
	s.running[key]--
	if s.running[key] == 0 {
		delete(s.running, key)
	}
	freed := s.freed
	s.mu.Unlock()
	for _, tell := range freed {
		tell(key)
	}
}

// Running is how many slots of the key are taken.
func (s *Slots[K]) Running(key K) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[key]
}

func (s *Slots[K]) subscribe(freed func(K)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freed = append(s.freed, freed)
}
