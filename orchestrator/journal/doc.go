// Package journal is the write-ahead record of runs: one append-only file of
// JSON lines for each run, readable with less at three in the morning.
//
//	{"crc":"9d1c22f0","rec":{"seq":1,"kind":"begin","run":"20261123-091500-try-web1","data":{…the plan…}}}
//	{"crc":"02c7a1de","rec":{"seq":2,"kind":"doing","step":0}}
//	{"crc":"c91b0f3a","rec":{"seq":3,"kind":"done","step":0}}
//	{"crc":"55e0d1b7","rec":{"seq":4,"kind":"end","result":"done"}}
//
// Each line carries the CRC-32C of the bytes of its rec. A record is durable
// when Append returns. A crash can tear only the last line, so a last line that
// is incomplete or fails its CRC was never acted on and is dropped; damage
// anywhere else is [ErrCorrupt]. Sequence numbers start at 1 and have no gaps.
//
// The process that writes a run holds an exclusive flock on its file, so a
// run that is unfinished and not locked belongs to a process that died.
package journal
