package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"cowhand/dmcore/nbd"
)

// serve opens the sockets and serves until ctx is done.
func (s *server) serve(ctx context.Context, changing *changeLocker) (err error) {
	control, err := listen(s.cfg.RunDir, controlName, -1)
	if err != nil {
		return err
	}
	s.control = control
	defer s.unlisten(control, controlName)
	owner := -1
	if os.Geteuid() == 0 {
		owner = s.cfg.NBDOwner
	}
	blocks, err := listen(s.cfg.RunDir, nbdName, owner)
	if err != nil {
		return err
	}
	defer s.unlisten(blocks, nbdName)

	// What serves must outlive ctx a little: devices are let go of only after
	// the connections that suspended them.
	after, end := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	defer background.Wait()
	defer end()
	background.Go(func() { s.host.saveLater(after) })
	background.Go(func() { s.forgetClients(after) })
	var nbdErr error
	var nbdDone sync.WaitGroup
	nbdDone.Go(func() {
		nbdErr = s.nbd().Serve(after, blocks)
		s.stop() // in case it ends first
	})

	changing.unlock()
	s.cfg.Ready()
	s.cfg.Log.Info("engine serves", "dir", s.cfg.RunDir, "pid", os.Getpid(), "devices", s.info().Devices)
	acceptErr := s.accept(ctx) // its sessions have ended too

	soon, cancel := context.WithTimeout(after, time.Second)
	defer cancel()
	if err := changing.lock(soon); err != nil { // a courtesy to those who start the next engine
		s.cfg.Log.Warn("stopping, with another engine waiting", "error", err)
	}
	s.host.stop(true)
	freezeErr := s.host.freeze()
	end()
	nbdDone.Wait()
	syncErr := s.host.machine.Sync()
	_, waitErr := s.host.giveUpWaiting()
	return errors.Join(acceptErr, freezeErr, nbdErr, syncErr, waitErr)
}

func (s *server) unlisten(l net.Listener, name string) {
	l.Close()
	os.Remove(filepath.Join(s.cfg.RunDir, name)) // ours: we hold the engine's lock
}

func (s *server) nbd() *nbd.Server {
	return &nbd.Server{
		Exports: exports{s.host}, Log: s.cfg.Log,
		Admit: func(c net.Conn) error {
			u, ok := c.(*net.UnixConn)
			if !ok {
				return fmt.Errorf("%T is no unix socket", c)
			}
			return checkPeer(u, s.cfg.NBDUsers)
		},
	}
}

// accept serves control connections until ctx is done, and returns when all
// have ended.
func (s *server) accept(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { s.control.Close() })()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		c, err := s.control.AcceptUnix()
		switch {
		case err == nil:
			sessions.Go(func() { s.session(ctx, c) })
		case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			<-ctx.Done() // soon: the stop was asked for
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			// Nothing tells when that is over.
			s.cfg.Log.Warn("control connection not accepted", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		default:
			s.stop()
			return fmt.Errorf("control socket: %w", err)
		}
	}
}

func (s *server) session(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	session := &session{server: s, conn: c}
	if err := checkPeer(c, nil); err != nil {
		s.cfg.Log.Warn("control connection refused", "error", err)
		session.fatal(err)
		return
	}
	if err := session.serve(ctx); err != nil {
		s.cfg.Log.Error("devices left suspended by a client", "error", err)
	}
}

// forgetClients lets go of devices whose clients do not come back in time.
func (s *server) forgetClients(ctx context.Context) {
	t := time.NewTimer(s.cfg.OpenGrace)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
		names, err := s.host.giveUpWaiting()
		if err != nil {
			s.cfg.Log.Error("closing devices nobody came back for", "error", err)
		}
		if len(names) > 0 {
			s.cfg.Log.Warn("clients that had devices open have not come back", "devices", names)
		}
	}
}

func (s *server) info() Info {
	i := s.host.info()
	i.PID, i.Version, i.Uptime = os.Getpid(), s.cfg.Version, time.Since(s.started)
	return i
}
