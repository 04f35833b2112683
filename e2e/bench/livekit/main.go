// Command livekit-load puts a LiveKit server under the load that `showrunner-load` puts on a
// media node: one host who publishes an H.264 file and an Opus file, and many viewers who
// subscribe to both. It reads the server's CPU time and memory from /proc while it counts what
// the viewers received, and prints `name: value` lines. With -layers it is only a host, whose viewers
// are others.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
)

type options struct {
	url, key, secret string
	room             string
	video, audio     string
	viewers          int
	perSecond        float64
	settle, window   time.Duration
	serverPID        int
	layers, frameLog string
}

func main() {
	var o options
	flag.StringVar(&o.url, "url", "ws://127.0.0.1:7880", "address of the LiveKit server")
	flag.StringVar(&o.key, "key", "", "API key")
	flag.StringVar(&o.secret, "secret", "", "API secret")
	flag.StringVar(&o.room, "room", "bench", "room to publish to and to watch")
	flag.StringVar(&o.video, "video", "", "H.264 Annex B file to publish, over and over, at 30 frames a second")
	flag.StringVar(&o.audio, "audio", "", "Ogg Opus file to publish, over and over")
	flag.IntVar(&o.viewers, "viewers", 100, "how many viewers join")
	flag.Float64Var(&o.perSecond, "rate", 20, "how many viewers join a second")
	flag.DurationVar(&o.settle, "settle", 5*time.Second, "wait after the last viewer's first packet")
	flag.DurationVar(&o.window, "window", 20*time.Second, "how long to count")
	flag.IntVar(&o.serverPID, "server-pid", 0, "process whose CPU time and memory to read")
	flag.StringVar(&o.layers, "layers", "", "only publish: the simulcast of this directory, until it is told to end")
	flag.StringVar(&o.frameLog, "frame-log", "", "file for which frame of which layer was sent when, with -layers")
	flag.Parse()
	// Its log is for people who debug the SDK; errors reach us as values.
	logger.SetLogger(logger.GetDiscardLogger(), "")
	lksdk.SetLogger(logger.GetDiscardLogger())
	work := run
	if o.layers != "" {
		work = broadcast
	}
	if err := work(o); err != nil {
		log.Fatal(err)
	}
}

func run(o options) error {
	host, err := publish(o)
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	defer host.Disconnect()

	before, err := readProcess(o.serverPID)
	if err != nil {
		return err
	}
	audience, err := join(o)
	if err != nil {
		return fmt.Errorf("joining: %w", err)
	}
	defer audience.leave()
	if err := audience.awaitMedia(30 * time.Second); err != nil {
		return err
	}
	time.Sleep(o.settle)

	start, err := readProcess(o.serverPID)
	if err != nil {
		return err
	}
	packets, gaps, began := audience.packets.Load(), audience.gaps.Load(), time.Now()
	time.Sleep(o.window)
	end, err := readProcess(o.serverPID)
	if err != nil {
		return err
	}
	packets, gaps = audience.packets.Load()-packets, audience.gaps.Load()-gaps
	elapsed := time.Since(began)
	if packets == 0 {
		return errors.New("the viewers received nothing while we counted")
	}

	cpu := end.cpu - start.cpu
	fmt.Printf("livekit_viewers: %d\n", o.viewers)
	fmt.Printf("livekit_packets_per_second: %.0f\n", float64(packets)/elapsed.Seconds())
	fmt.Printf("livekit_loss_percent: %.3f\n", 100*float64(gaps)/float64(packets+gaps))
	fmt.Printf("livekit_cpu_cores: %.3f\n", cpu.Seconds()/elapsed.Seconds())
	fmt.Printf("livekit_us_per_packet: %.2f\n", float64(cpu.Microseconds())/float64(packets))
	fmt.Printf("livekit_rss_kib_per_viewer: %.0f\n", float64(end.rssKiB-before.rssKiB)/float64(o.viewers))
	return nil
}

func (o options) connect(identity string, callback *lksdk.RoomCallback) (*lksdk.Room, error) {
	return lksdk.ConnectToRoom(o.url, lksdk.ConnectInfo{
		APIKey: o.key, APISecret: o.secret, RoomName: o.room, ParticipantIdentity: identity,
	}, callback, lksdk.WithDisableRegionDiscovery())
}

// publish connects a host and puts its two tracks on air.
func publish(o options) (*lksdk.Room, error) {
	room, err := o.connect("host", lksdk.NewRoomCallback())
	if err != nil {
		return nil, err
	}
	video, err := openLooped(o.video)
	if err != nil {
		return nil, err
	}
	videoTrack, err := lksdk.NewLocalReaderTrack(video, webrtc.MimeTypeH264)
	if err != nil {
		return nil, err
	}
	if _, err := room.LocalParticipant.PublishTrack(videoTrack, &lksdk.TrackPublicationOptions{
		Name: "video", Source: livekit.TrackSource_CAMERA, VideoWidth: 1280, VideoHeight: 720,
	}); err != nil {
		return nil, err
	}
	// An Ogg stream can't be read past its end, so the file is longer than a run.
	audioTrack, err := lksdk.NewLocalFileTrack(o.audio)
	if err != nil {
		return nil, err
	}
	_, err = room.LocalParticipant.PublishTrack(audioTrack, &lksdk.TrackPublicationOptions{
		Name: "audio", Source: livekit.TrackSource_MICROPHONE,
	})
	return room, err
}

// looped reads a file over and over. An Annex B file starts with its parameter sets and an IDR
// picture, so its beginning may follow its end.
type looped struct{ file *os.File }

func openLooped(path string) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &looped{file}, nil
}

func (l *looped) Read(p []byte) (int, error) {
	n, err := l.file.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		if _, err := l.file.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		return l.file.Read(p)
	}
	return n, err
}

func (l *looped) Close() error { return l.file.Close() }

// audience is all the viewers, counted together.
type audience struct {
	rooms   []*lksdk.Room
	packets atomic.Uint64
	// gaps counts sequence numbers that never came.
	gaps atomic.Uint64
	// waiting counts tracks whose first packet is still to come.
	waiting sync.WaitGroup
}

const tracksPerViewer = 2

func join(o options) (*audience, error) {
	a := &audience{}
	a.waiting.Add(o.viewers * tracksPerViewer)
	callback := &lksdk.RoomCallback{ParticipantCallback: lksdk.ParticipantCallback{
		OnTrackSubscribed: func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) {
			go a.count(track)
		},
	}}
	tick := time.NewTicker(time.Duration(float64(time.Second) / o.perSecond))
	defer tick.Stop()
	for i := range o.viewers {
		<-tick.C
		room, err := o.connect(fmt.Sprintf("viewer-%d", i), callback)
		if err != nil {
			return nil, fmt.Errorf("viewer %d of %d: %w", i+1, o.viewers, err)
		}
		a.rooms = append(a.rooms, room)
	}
	return a, nil
}

// count reads one track until it ends.
func (a *audience) count(track *webrtc.TrackRemote) {
	buffer := make([]byte, 1500)
	var highest uint16
	for first := true; ; {
		n, _, err := track.Read(buffer)
		if err != nil {
			return
		}
		if n < 12 {
			continue
		}
		a.packets.Add(1)
		sequence := uint16(buffer[2])<<8 | uint16(buffer[3])
		if first {
			first = false
			highest = sequence
			a.waiting.Done()
			continue
		}
		// A late packet fills a gap that was counted when it was passed over.
		switch ahead := int16(sequence - highest); {
		case ahead > 0:
			a.gaps.Add(uint64(ahead - 1))
			highest = sequence
		case ahead < 0:
			a.gaps.Add(^uint64(0))
		}
	}
}

func (a *audience) awaitMedia(limit time.Duration) error {
	all := make(chan struct{})
	go func() { a.waiting.Wait(); close(all) }()
	select {
	case <-all:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("some viewers still had no media %v after the last one joined", limit)
	}
}

func (a *audience) leave() {
	for _, room := range a.rooms {
		room.Disconnect()
	}
}

type process struct {
	cpu    time.Duration
	rssKiB int64
}

// readProcess reads proc(5): utime and stime are in ticks of 1/100 s on Linux.
func readProcess(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, fmt.Errorf("reading the server's CPU time: %w", err)
	}
	// The command's name may hold spaces and ends with the last ')'.
	_, rest, found := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 22 {
		return process{}, errors.New("reading the server's CPU time: /proc/PID/stat is too short")
	}
	number := func(i int) int64 {
		n, parseErr := strconv.ParseInt(fields[i], 10, 64)
		err = errors.Join(err, parseErr)
		return n
	}
	ticks := number(11) + number(12)
	pages := number(21)
	return process{
		cpu:    time.Duration(ticks) * 10 * time.Millisecond,
		rssKiB: pages * int64(os.Getpagesize()) / 1024,
	}, err
}
