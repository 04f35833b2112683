package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// A host doesn't make keyframes faster than this, however often it is asked; showrunner-load's
// doesn't either.
const keyframeInterval = 500 * time.Millisecond

// broadcast publishes the layers q, h and f (VP8 in IVF) and the sound of a directory as a
// simulcast until it is told to end.
func broadcast(o options) error {
	room, err := o.connect("host", lksdk.NewRoomCallback())
	if err != nil {
		return err
	}
	defer room.Disconnect()
	log, err := newFrameLog(o.frameLog)
	if err != nil {
		return err
	}
	var tracks []*lksdk.LocalTrack
	for _, layer := range []*livekit.VideoLayer{
		{Quality: livekit.VideoQuality_LOW, Width: 480, Height: 270, Bitrate: 250_000},
		{Quality: livekit.VideoQuality_MEDIUM, Width: 1280, Height: 720, Bitrate: 1_100_000},
		{Quality: livekit.VideoQuality_HIGH, Width: 1920, Height: 1080, Bitrate: 2_400_000},
	} {
		rid := map[livekit.VideoQuality]string{
			livekit.VideoQuality_LOW: "q", livekit.VideoQuality_MEDIUM: "h", livekit.VideoQuality_HIGH: "f",
		}[layer.Quality]
		clip, err := readClip(filepath.Join(o.layers, rid+".ivf"), rid, log)
		if err != nil {
			return err
		}
		track, err := lksdk.NewLocalTrack(
			webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeVP8, ClockRate: 90_000,
				RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
			},
			lksdk.WithSimulcast("picture", layer), lksdk.WithRTCPHandler(clip.onFeedback),
		)
		if err != nil {
			return err
		}
		if err := track.StartWrite(clip, nil); err != nil {
			return err
		}
		tracks = append(tracks, track)
	}
	if _, err := room.LocalParticipant.PublishSimulcastTrack(tracks, &lksdk.TrackPublicationOptions{
		Name: "picture", Source: livekit.TrackSource_CAMERA,
	}); err != nil {
		return err
	}
	sound, err := lksdk.NewLocalFileTrack(filepath.Join(o.layers, "audio.ogg"))
	if err != nil {
		return err
	}
	if _, err := room.LocalParticipant.PublishTrack(sound, &lksdk.TrackPublicationOptions{
		Name: "sound", Source: livekit.TrackSource_MICROPHONE,
	}); err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "on air")
	<-ended
	return nil
}

// clip is a layer, played over and over.
type clip struct {
	lksdk.BaseSampleProvider
	rid          string
	frames       [][]byte
	duration     time.Duration
	at           int
	lastKeyframe time.Time
	// wantsKeyframe is set by another goroutine.
	wantsKeyframe atomic.Bool
	log           *frameLog
}

// readClip reads IVF: a header of 32 bytes, then frames with headers of 12.
func readClip(path, rid string, log *frameLog) (*clip, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(bytes) < 32 || string(bytes[8:12]) != "VP80" {
		return nil, fmt.Errorf("%s isn't VP8 in IVF", path)
	}
	rate, scale := binary.LittleEndian.Uint32(bytes[16:]), binary.LittleEndian.Uint32(bytes[20:])
	if rate == 0 {
		return nil, fmt.Errorf("%s has no frame rate", path)
	}
	c := &clip{rid: rid, duration: time.Second * time.Duration(scale) / time.Duration(rate), log: log}
	for rest := bytes[32:]; len(rest) > 12; {
		end := 12 + int(binary.LittleEndian.Uint32(rest))
		if end > len(rest) || end == 12 {
			return nil, fmt.Errorf("%s is cut off", path)
		}
		c.frames = append(c.frames, rest[12:end])
		rest = rest[end:]
	}
	if len(c.frames) == 0 || !isKeyframe(c.frames[0]) {
		return nil, fmt.Errorf("%s doesn't begin with a keyframe", path)
	}
	return c, nil
}

// isKeyframe reads the frame tag (RFC 6386 §9.1).
func isKeyframe(frame []byte) bool { return frame[0]&1 == 0 }

func (c *clip) onFeedback(packet rtcp.Packet) {
	switch packet.(type) {
	case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
		c.wantsKeyframe.Store(true)
	}
}

// NextSample is the next frame, or the next keyframe if one was asked for.
func (c *clip) NextSample(context.Context) (media.Sample, error) {
	now := time.Now()
	if c.wantsKeyframe.Swap(false) && now.Sub(c.lastKeyframe) >= keyframeInterval {
		for !isKeyframe(c.frames[c.at]) {
			c.at = (c.at + 1) % len(c.frames)
		}
	}
	frame := c.frames[c.at]
	if isKeyframe(frame) {
		c.lastKeyframe = now
	}
	c.log.add(c.rid, c.at, now)
	c.at = (c.at + 1) % len(c.frames)
	return media.Sample{Data: frame, Duration: c.duration}, nil
}

// frameLog says which frame of which layer was sent when, as showrunner-load's does.
type frameLog struct {
	lock sync.Mutex
	file *os.File
}

func newFrameLog(path string) (*frameLog, error) {
	if path == "" {
		return &frameLog{}, nil
	}
	file, err := os.Create(path)
	return &frameLog{file: file}, err
}

func (l *frameLog) add(rid string, frame int, at time.Time) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.file != nil {
		fmt.Fprintf(l.file, "%s,%d,%.3f\n", rid, frame, float64(at.UnixMicro())/1e3)
	}
}
