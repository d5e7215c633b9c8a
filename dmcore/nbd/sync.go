package nbd

import "sync"

// syncer makes a device durable for many at a time: those who ask while a Sync
// runs share the next one. It belongs to one connection and not to an export
// name, because a name may come to mean another device.
type syncer struct {
	sync func() error

	mu      sync.Mutex
	ended   sync.Cond
	begun   uint64 // how many Syncs have begun
	done    uint64 // the number of the last that ended
	failed  uint64 // the number of the last that failed
	err     error  // why it failed
	running bool
}

func newSyncer(f func() error) *syncer {
	s := &syncer{sync: f}
	s.ended.L = &s.mu
	return s
}

// Sync returns when a Sync of the device that began after the call has ended.
// If that one failed, so does this, even when a later one succeeded: an error
// of fsync is reported once and then forgotten below.
func (s *syncer) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.begun + 1
	for s.running {
		s.ended.Wait()
		if s.done >= mine {
			if s.failed >= mine {
				return s.err
			}
			return nil
		}
	}
	s.begun++
	s.running = true
	s.mu.Unlock()
	err := s.sync()
	s.mu.Lock()
	s.running = false
	s.done = s.begun
	if err != nil {
		s.failed, s.err = s.done, err
	}
	s.ended.Broadcast()
	return err
}
