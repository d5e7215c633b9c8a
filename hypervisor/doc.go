// Package hypervisor says what a hypervisor must promise about its guests, and
// reads and rewrites the XML that describes them.
//
// The states of a guest, and what moves it between them:
//
//	            Define              Start
//	(nothing) ---------> ShutOff ---------> Running <-----> Paused
//	          <---------    ^                  |    Pause      |
//	           Undefine     |    Shutdown      |    Resume     |
//	                        |    Destroy       |               |
//	                        +------------------+---------------+
//	                      Saved: off, with its memory kept by libvirt;
//	                             the next Start resumes that memory
//
// A guest that is [ShutOff] or [Crashed] has let go of its disks. A guest that
// is [Saved] has too, but its memory still describes them: bytes that change
// below it are lost or worse when it resumes.
//
// Everything in this package but the interfaces is a function from XML to
// values. The XML is libvirt's (docs/formatdomain.rst of libvirt 9.0 and
// later); what a function does not know is kept byte for byte.
package hypervisor
