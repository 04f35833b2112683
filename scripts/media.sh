#!/usr/bin/env bash
# Makes the test host's picture and sound in .cache/media, once: 60 s that may be played over
# and over. Every picture shows a running clock, and each layer of a simulcast says its name.
# With the argument `network` also those of `make bench-network`, in .cache/media/network.
set -euo pipefail
cd "$(dirname "$0")/.."

out=.cache/media
rate=30
gop=$((2 * rate)) # a keyframe every two seconds
seconds=60
font=/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf
mkdir -p "$out"

caption() {
  echo "drawtext=fontfile=$font:fontsize=h/9:x=(w-tw)/2:y=h/3:box=1:boxcolor=black@0.6:boxborderw=12:fontcolor=white:text='$1  %{pts\\:hms}'"
}

# The frame's number as a row of cells at the top edge, white for each bit that is set, the lowest
# first, and a second row with the opposite, by which a reader knows that it has read them right.
# They survive scaling and coding, and tell a viewer which of the host's frames it sees.
numbered() {
  local bit cell="w=iw/16:h=ih/16:color=white:t=fill"
  echo -n ",drawbox=x=0:y=0:w=iw:h=ih/8:color=black:t=fill"
  for bit in {0..11}; do
    echo -n ",drawbox=x=iw*(2+$bit)/16:y=0:$cell:enable='mod(floor(n/2^$bit),2)'"
    echo -n ",drawbox=x=iw*(2+$bit)/16:y=ih/16:$cell:enable='not(mod(floor(n/2^$bit),2))'"
  done
}

# encode FILE SIZE NAME CODEC-ARGUMENTS…: into a temporary name first, so that a file that is
# there is whole.
encode() {
  local file=$1 size=$2 name=$3
  shift 3
  [[ -s $out/$file ]] && return
  echo "making $out/$file"
  ffmpeg -nostdin -loglevel error -y -f lavfi -i "testsrc2=size=$size:rate=$rate:duration=$seconds" \
    -vf "$(caption "$name")${more-},format=yuv420p" "$@" "$out/making-${file##*/}"
  mv "$out/making-${file##*/}" "$out/$file"
}

# Constrained baseline is what every browser must take (RFC 7742). One slice a picture and no
# frame-to-come, as a live encoder makes it.
h264() {
  encode "$1.h264" "$2" "$1" -c:v libx264 -profile:v baseline -preset veryfast -tune zerolatency \
    -x264-params "keyint=$gop:min-keyint=$gop:scenecut=0:sliced-threads=0:slices=1:repeat-headers=1" \
    -b:v "$3" -maxrate "$3" -bufsize "$3" -f h264
}
vp8() {
  local file=$1 size=$2 kbps=$3
  shift 3
  encode "$file.ivf" "$size" "$file" -c:v libvpx -deadline realtime -cpu-used 8 -auto-alt-ref 0 -lag-in-frames 0 \
    -g "$gop" -keyint_min "$gop" -b:v "${kbps}k" -maxrate "${kbps}k" -bufsize "${kbps}k" "$@" -f ivf
}
# With three temporal layers, as browsers send each layer of a simulcast: in turn of the layers 0, 2, 1, 2. Frames of
# upper ones can be left out only if they leave no trace in the decoder's probabilities.
vp8_temporal() {
  local layers=ts_number_layers=3:ts_periodicity=4:ts_layer_id=0,2,1,2:ts_rate_decimator=4,2,1:ts_layering_mode=3
  vp8 "$@" -error-resilient default -ts-parameters "$layers:ts_target_bitrate=$(($3 * 4 / 10)),$(($3 * 6 / 10)),$3"
}

h264 q 320x180 150k
h264 h 640x360 600k
h264 f 1280x720 2000k
vp8 q 320x180 150
vp8 h 640x360 600
vp8 f 1280x720 2000

if [[ ! -s $out/audio.ogg ]]; then
  echo "making $out/audio.ogg"
  # A quiet tone that comes and goes, so that silence and sound can be told apart; ten minutes,
  # since an Ogg stream can't be joined end to beginning.
  ffmpeg -nostdin -loglevel error -y -f lavfi -i "sine=frequency=440:beep_factor=4:sample_rate=48000:duration=600" \
    -ac 2 -c:a libopus -b:a 48k -application lowdelay -frame_duration 20 -page_duration 20000 -f ogg "$out/.making-audio.ogg"
  mv "$out/.making-audio.ogg" "$out/audio.ogg"
fi

if [[ ${1-} == network ]]; then
  # Layers for a bench of viewers' networks: the top one and its sound fit 3 Mbit/s with the
  # headers, the middle one is 720p and fits half of that, so that two share a link; and the lowest
  # fits wherever a picture makes sense.
  mkdir -p "$out/network"
  more=$(numbered)
  vp8_temporal network/q 480x270 250
  vp8_temporal network/h 1280x720 1100
  vp8_temporal network/f 1920x1080 2400
  ln -f "$out/audio.ogg" "$out/network/audio.ogg"
fi
