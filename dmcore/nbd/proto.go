package nbd

import "encoding/binary"

// Magic numbers.
const (
	magicInit       = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT"
	magicRep        = 0x0003e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Handshake flags of the server, and the client's answers: the same bits.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Transmission flags.
const (
	flagHasFlags        = 1 << 0
	flagReadOnly        = 1 << 1
	flagSendFlush       = 1 << 2
	flagSendFUA         = 1 << 3
	flagSendTrim        = 1 << 5
	flagSendWriteZeroes = 1 << 6
	flagSendDF          = 1 << 7
	flagCanMultiConn    = 1 << 8
	flagSendCache       = 1 << 10
	flagSendFastZero    = 1 << 11
)

// Options.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10
)

// Replies to options.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4

	repErrUnsup    = 1<<31 + 1
	repErrPolicy   = 1<<31 + 2
	repErrInvalid  = 1<<31 + 3
	repErrPlatform = 1<<31 + 4
	repErrUnknown  = 1<<31 + 6
	repErrShutdown = 1<<31 + 7
	repErrTooBig   = 1<<31 + 9
)

// Kinds of information in INFO and GO.
const (
	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisc        = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdCache       = 5
	cmdWriteZeroes = 6
	cmdBlockStatus = 7
)

// Command flags.
const (
	cmdFlagFUA      = 1 << 0
	cmdFlagNoHole   = 1 << 1
	cmdFlagDF       = 1 << 2
	cmdFlagReqOne   = 1 << 3
	cmdFlagFastZero = 1 << 4
)

// Structured replies.
const (
	replyFlagDone = 1 << 0

	replyNone        = 0
	replyOffsetData  = 1
	replyOffsetHole  = 2
	replyBlockStatus = 5
	replyError       = 1<<15 + 1
)

// Status bits of base:allocation.
const (
	stateHole = 1 << 0
	stateZero = 1 << 1
)

// Lengths.
const (
	maxString     = 4096     // of names and messages
	maxOption     = 64 << 10 // data of one option
	maxOptions    = 1024     // options of one connection
	maxPayload    = 32 << 20 // of one READ or WRITE
	requestSize   = 28
	simpleSize    = 16
	chunkSize     = 20 // header of a structured reply chunk
	dataChunkSize = chunkSize + 8
)

const contextAllocation = "base:allocation"

// header is a request as it comes over the wire.
type header struct {
	flags, cmd uint16
	cookie     uint64
	offset     uint64
	length     uint32
}

// decode reads a request; it reports whether the magic number is right.
func (h *header) decode(b []byte) bool {
	_ = b[requestSize-1]
	h.flags = binary.BigEndian.Uint16(b[4:])
	h.cmd = binary.BigEndian.Uint16(b[6:])
	h.cookie = binary.BigEndian.Uint64(b[8:])
	h.offset = binary.BigEndian.Uint64(b[16:])
	h.length = binary.BigEndian.Uint32(b[24:])
	return binary.BigEndian.Uint32(b) == magicRequest
}

// appendSimple appends a simple reply.
func appendSimple(b []byte, e errno, cookie uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, magicSimple)
	b = binary.BigEndian.AppendUint32(b, uint32(e))
	return binary.BigEndian.AppendUint64(b, cookie)
}

// appendChunk appends the header of a structured reply chunk whose payload has
// n bytes.
func appendChunk(b []byte, flags, kind uint16, cookie uint64, n int) []byte {
	b = binary.BigEndian.AppendUint32(b, magicStructured)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, cookie)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// appendDataChunk appends all of an OFFSET_DATA chunk but its n bytes of data.
func appendDataChunk(b []byte, flags uint16, cookie, offset uint64, n int) []byte {
	b = appendChunk(b, flags, replyOffsetData, cookie, 8+n)
	return binary.BigEndian.AppendUint64(b, offset)
}

// appendHoleChunk appends an OFFSET_HOLE chunk.
func appendHoleChunk(b []byte, flags uint16, cookie, offset uint64, n int) []byte {
	b = appendChunk(b, flags, replyOffsetHole, cookie, 12)
	b = binary.BigEndian.AppendUint64(b, offset)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// appendErrorChunk appends a final ERROR chunk. The message is cut to what the
// protocol allows.
func appendErrorChunk(b []byte, cookie uint64, e errno, message string) []byte {
	message = message[:min(len(message), maxString)]
	b = appendChunk(b, replyFlagDone, replyError, cookie, 6+len(message))
	b = binary.BigEndian.AppendUint32(b, uint32(e))
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	return append(b, message...)
}
