package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/userspace"
)

// server is a running engine.
type server struct {
	cfg     Config
	host    *host
	control *net.UnixListener
	started time.Time
	stop    context.CancelFunc
}

type userspaceMachine struct{ *userspace.Machine }

func (m userspaceMachine) open(name dmcore.Name, readOnly bool) (handle, error) {
	h, err := m.Open(name, readOnly)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Serve is an engine: it restores the devices of the one before it and serves
// them until ctx is done or a client stops it. A run directory that another
// engine serves gives [ErrRunning], after that one's start has ended, so that
// it can be dialed then.
//
// Once ctx is done, connections are ended, NBD requests finished, everything
// synced and closed. What was active and open then is what the next engine is
// told.
func Serve(ctx context.Context, cfg Config) (err error) {
	cfg = cfg.withDefaults()
	if cfg.RunDir, err = runDirPath(cfg.RunDir); err != nil {
		return err
	}
	if err := makeRunDir(cfg.RunDir); err != nil {
		return err
	}
	changing := &changeLocker{path: filepath.Join(cfg.RunDir, changeLock)}
	if err := changing.lock(ctx); err != nil {
		return err
	}
	defer changing.unlock()
	unlock, err := tryLockFile(filepath.Join(cfg.RunDir, engineLock))
	if err != nil {
		return err
	}
	defer unlock() // before changing: who waits for that one finds this one free

	boot, err := bootID()
	if err != nil {
		return err
	}
	mem := &memory{path: filepath.Join(cfg.RunDir, stateName), boot: boot}
	was, err := mem.read()
	if err != nil {
		return err
	}
	m := userspaceMachine{userspace.New(cfg.Open)}
	defer func() { err = errors.Join(err, m.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &server{cfg: cfg, host: newHost(m, cfg, mem), started: time.Now(), stop: stop}
	if err := s.restore(ctx, was); err != nil {
		return fmt.Errorf("%s: restore: %w", cfg.RunDir, err)
	}
	return s.serve(ctx, changing)
}

// changeLocker holds the lock that says an engine is on its way up or down.
type changeLocker struct {
	path    string
	release func()
}

func (l *changeLocker) lock(ctx context.Context) (err error) {
	l.release, err = lockFile(ctx, l.path)
	return err
}

func (l *changeLocker) unlock() {
	if l.release != nil {
		l.release()
		l.release = nil
	}
}

// restore makes the devices of the engine before, and only then lets the file
// change: a death on the way leaves it as it was.
func (s *server) restore(ctx context.Context, was []remembered) error {
	restore := s.cfg.Restore
	if restore == nil {
		restore = Rebuild
	}
	var list []Was
	if was != nil {
		list = []Was{}
	}
	for _, w := range was {
		list = append(list, Was{
			Info:  dmcore.Info{Name: w.Name, UUID: w.UUID, ReadOnly: w.ReadOnly, Live: true},
			Table: w.Table, Open: w.Open,
		})
	}
	var own owner
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := restore(ctx, &bound{s.host, &own, ctx}, list)
	if err = errors.Join(err, s.host.end(ctx, &own)); err != nil {
		return err
	}
	missing, err := s.host.awaitClients(was)
	if err != nil {
		return err
	}
	for _, w := range missing {
		s.cfg.Log.Warn("a device is not there any more", "device", string(w.Name), "open", w.Open)
	}
	s.host.mu.Lock()
	s.host.quiet = false
	s.host.changes++
	s.host.mu.Unlock()
	return s.host.save()
}
