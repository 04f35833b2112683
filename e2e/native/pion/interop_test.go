package pion

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"
)

const room = "default/pion"

// onAir is a host who sends until the test ends.
type onAir struct {
	session string
	// frames is what it sends, over and over.
	frames [][]byte
}

func goOnAir(t *testing.T, n node, codec videoCodec, networks ...webrtc.NetworkType) onAir {
	t.Helper()
	frames := codec.frames(t)
	peer := newPeer(t, networks...)
	video, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: codec.mime}, "video", "host")
	if err != nil {
		t.Fatal(err)
	}
	audio, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "host")
	if err != nil {
		t.Fatal(err)
	}
	for _, track := range []webrtc.TrackLocal{audio, video} {
		sendOnly := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
		transceiver, err := peer.AddTransceiverFromTrack(track, sendOnly)
		if err != nil {
			t.Fatal(err)
		}
		if track == video {
			offerOnly(t, transceiver, codec)
		}
	}
	session := negotiate(t, peer, n.whip(room))
	awaitState(t, peer, webrtc.PeerConnectionStateConnected)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go play(t, video, frames, time.Second/framesPerSecond, stop)
	go play(t, audio, [][]byte{silence}, 20*time.Millisecond, stop)
	return onAir{session: session, frames: frames}
}

// offerOnly leaves in a host's offer the codec that it will send, with its retransmissions. Pion
// offers all that it knows, and a node takes a host at its first word.
func offerOnly(t *testing.T, transceiver *webrtc.RTPTransceiver, codec videoCodec) {
	t.Helper()
	var chosen []webrtc.RTPCodecParameters
	for _, known := range transceiver.Sender().GetParameters().Codecs {
		switch {
		case len(chosen) == 0 && known.MimeType == codec.mime && !strings.Contains(known.SDPFmtpLine, "packetization-mode=0"):
			chosen = append(chosen, known)
		case len(chosen) == 1 && known.SDPFmtpLine == fmt.Sprintf("apt=%d", chosen[0].PayloadType):
			chosen = append(chosen, known)
		}
	}
	if err := transceiver.SetCodecPreferences(chosen); err != nil {
		t.Fatal(err)
	}
}

// viewer is a watching client with what it received.
type viewer struct {
	peer    *webrtc.PeerConnection
	session string
	// pictures are whole frames in order, as Pion puts them together.
	pictures chan []byte
	sounds   chan []byte
}

func watch(t *testing.T, n node, codec videoCodec, networks ...webrtc.NetworkType) viewer {
	t.Helper()
	peer := newPeer(t, networks...)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		receiveOnly := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
		if _, err := peer.AddTransceiverFromKind(kind, receiveOnly); err != nil {
			t.Fatal(err)
		}
	}
	v := viewer{peer: peer, pictures: make(chan []byte, 1024), sounds: make(chan []byte, 1024)}
	peer.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			v.readAudio(track)
		} else {
			v.readVideo(track, codec)
		}
	})
	v.session = negotiate(t, peer, n.whep(room))
	return v
}

func (v viewer) readAudio(track *webrtc.TrackRemote) {
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		select {
		case v.sounds <- packet.Payload:
		default:
		}
	}
}

func (v viewer) readVideo(track *webrtc.TrackRemote, codec videoCodec) {
	builder := samplebuilder.New(256, codec.depacketizer(), track.Codec().ClockRate)
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		builder.Push(packet)
		for sample := builder.Pop(); sample != nil; sample = builder.Pop() {
			select {
			case v.pictures <- sample.Data:
			default:
			}
		}
	}
}

// expectProgram checks that two seconds of what the host sends arrive whole, in order, and with
// nothing missing between.
func (v viewer) expectProgram(t *testing.T, codec videoCodec, host onAir) {
	t.Helper()
	place := make(map[string]int, len(host.frames))
	for i, frame := range host.frames {
		place[codec.essence(frame)] = i
	}
	limit := time.After(30 * time.Second)
	previous := -1
	for received := range 2 * framesPerSecond {
		select {
		case picture := <-v.pictures:
			current, sent := place[codec.essence(picture)]
			if !sent {
				t.Fatalf("picture %d (%d bytes) is none that was sent", received, len(picture))
			}
			if previous >= 0 && current != (previous+1)%len(host.frames) {
				t.Fatalf("picture %d came after picture %d of %d", current, previous, len(host.frames))
			}
			previous = current
		case <-limit:
			t.Fatalf("only %d pictures in 30 s; the connection is %v", received, v.peer.ConnectionState())
		}
	}
	select {
	case sound := <-v.sounds:
		if !bytes.Equal(sound, silence) {
			t.Fatalf("the sound arrived as %x and was sent as %x", sound, silence)
		}
	case <-limit:
		t.Fatal("no sound in 30 s")
	}
}

func TestEveryCodecArrivesAsItWasSent(t *testing.T) {
	for _, codec := range videoCodecs {
		t.Run(codec.name, func(t *testing.T) {
			n := startNode(t, "127.0.0.1")
			host := goOnAir(t, n, codec, webrtc.NetworkTypeUDP4)
			watch(t, n, codec, webrtc.NetworkTypeUDP4).expectProgram(t, codec, host)
		})
	}
}

func TestHostAndViewerOverIPv6(t *testing.T) {
	if !needsIPv6(t) {
		return
	}
	n := startNode(t, ipv6)
	host := goOnAir(t, n, videoCodecs[0], webrtc.NetworkTypeUDP6)
	watch(t, n, videoCodecs[0], webrtc.NetworkTypeUDP6).expectProgram(t, videoCodecs[0], host)
}

func TestViewerWithoutUDPWatchesOverTCP(t *testing.T) {
	n := startNode(t, "127.0.0.1")
	host := goOnAir(t, n, videoCodecs[0], webrtc.NetworkTypeUDP4)
	v := watch(t, n, videoCodecs[0], webrtc.NetworkTypeTCP4)
	v.expectProgram(t, videoCodecs[0], host)
}

func TestHostWithoutUDPPublishesOverTCP(t *testing.T) {
	n := startNode(t, "127.0.0.1")
	host := goOnAir(t, n, videoCodecs[1], webrtc.NetworkTypeTCP4)
	watch(t, n, videoCodecs[1], webrtc.NetworkTypeUDP4).expectProgram(t, videoCodecs[1], host)
}

func TestHostAndViewerOverTCPAndIPv6(t *testing.T) {
	if !needsIPv6(t) {
		return
	}
	n := startNode(t, ipv6)
	host := goOnAir(t, n, videoCodecs[0], webrtc.NetworkTypeTCP6)
	watch(t, n, videoCodecs[0], webrtc.NetworkTypeTCP6).expectProgram(t, videoCodecs[0], host)
}

func TestDeletedSessionClosesTheConnection(t *testing.T) {
	n := startNode(t, "127.0.0.1")
	host := goOnAir(t, n, videoCodecs[0], webrtc.NetworkTypeUDP4)
	v := watch(t, n, videoCodecs[0], webrtc.NetworkTypeUDP4)
	v.expectProgram(t, videoCodecs[0], host)
	deleteSession(t, v.session)
	awaitState(t, v.peer, webrtc.PeerConnectionStateClosed)

	response, err := http.Get(v.session)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Fatalf("GET of a deleted session: %s", response.Status)
	}
}
