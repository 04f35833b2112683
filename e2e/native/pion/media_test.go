package pion

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/h264reader"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
)

// videoCodec is one video codec as these tests use it.
type videoCodec struct {
	name string
	mime string
	// arguments make ffmpeg encode it as a live encoder would.
	arguments []string
	extension string
	// depacketizer is Pion's own, so that ours is not tested against itself.
	depacketizer func() rtp.Depacketizer
}

var videoCodecs = []videoCodec{
	{
		name: "H264", mime: webrtc.MimeTypeH264, extension: "h264",
		arguments: []string{
			"-c:v", "libx264", "-profile:v", "baseline", "-tune", "zerolatency", "-preset", "veryfast",
			"-x264-params", "keyint=30:scenecut=0:sliced-threads=0:slices=1:repeat-headers=1",
		},
		depacketizer: func() rtp.Depacketizer { return &codecs.H264Packet{} },
	},
	{
		name: "VP8", mime: webrtc.MimeTypeVP8, extension: "ivf",
		arguments:    []string{"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "0", "-g", "30"},
		depacketizer: func() rtp.Depacketizer { return &codecs.VP8Packet{} },
	},
	{
		name: "VP9", mime: webrtc.MimeTypeVP9, extension: "ivf",
		arguments: []string{
			"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-auto-alt-ref", "0", "-g", "30",
		},
		depacketizer: func() rtp.Depacketizer { return &codecs.VP9Packet{} },
	},
}

const framesPerSecond = 30

// frames encodes four seconds of moving picture and returns it frame by frame; each has a
// keyframe's second, so that a test can play it over and over.
func (c videoCodec) frames(t *testing.T) [][]byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "video."+c.extension)
	arguments := []string{"-nostdin", "-loglevel", "error", "-f", "lavfi",
		"-i", fmt.Sprintf("testsrc2=size=640x360:rate=%d:duration=4", framesPerSecond), "-pix_fmt", "yuv420p", "-b:v", "800k"}
	arguments = append(append(arguments, c.arguments...), file)
	if output, err := exec.Command("ffmpeg", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, output)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.extension == "h264" {
		return pictures(t, content)
	}
	reader, _, err := ivfreader.NewWith(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var frames [][]byte
	for {
		frame, _, err := reader.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			return frames
		} else if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, frame)
	}
}

var startCode = []byte{0, 0, 0, 1}

// pictures cuts an Annex B stream after each slice: the encoder makes one a picture.
func pictures(t *testing.T, content []byte) [][]byte {
	t.Helper()
	reader, err := h264reader.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	var picture []byte
	for {
		unit, err := reader.NextNAL()
		if errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		picture = append(append(picture, startCode...), unit.Data...)
		switch unit.UnitType {
		case h264reader.NalUnitTypeCodedSliceIdr, h264reader.NalUnitTypeCodedSliceNonIdr:
			all = append(all, picture)
			picture = nil
		}
	}
}

// essence is what of a frame must arrive as it was sent. RTP does not keep H.264's delimiters and
// may pack parameter sets by themselves, so there it is the last unit: the slice.
func (c videoCodec) essence(frame []byte) string {
	if c.extension == "h264" {
		return string(frame[bytes.LastIndex(frame, startCode[1:])+3:])
	}
	return string(frame)
}

// play sends the frames over and over until stop is closed.
func play(t *testing.T, track *webrtc.TrackLocalStaticSample, frames [][]byte, every time.Duration, stop <-chan struct{}) {
	t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
			// It fails only when the connection is closed, which ends the test anyway.
			_ = track.WriteSample(media.Sample{Data: frames[i%len(frames)], Duration: every})
		}
	}
}

// silence is an Opus frame of 20 ms without sound (RFC 6716: CELT, fullband, mono).
var silence = []byte{0xf8, 0xff, 0xfe}
