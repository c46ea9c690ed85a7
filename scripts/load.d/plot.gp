# Draws the CSV of the load test: gnuplot -e "csv='…'; png='…'; title='…'" plot.gp
set terminal pngcairo size 760,550 font "sans,8"
set output png
set datafile separator ","
set key autotitle columnhead
set border 3 lc rgb "#666666"
set tics nomirror
stats csv using "step" nooutput
middle = (STATS_max + 1) / 2

set multiplot layout 2,2 title title font ",10"

set title "images a second, and pullers (grey, right)"
set xlabel "seconds"
set yrange [0:*]
set y2range [0.8:*]
set logscale y2 2
set y2tics
plot csv using "seconds":"pullers" axes x1y2 with fsteps lc rgb "#bbbbbb" lw 2 notitle, \
     csv using "seconds":"images_per_second" with lines lc rgb "#1f5fa8" lw 2 notitle
unset logscale y2
unset y2tics
unset y2range

set title "images a second, by pullers"
set xlabel "pullers"
set logscale x 2
set key bottom right
plot csv using "pullers":(column("step") <= middle ? column("images_per_second") : NaN) with points pt 7 lc rgb "#1f5fa8" title "going up", \
     csv using "pullers":(column("step") > middle ? column("images_per_second") : NaN) with points pt 6 lc rgb "#c8651b" title "coming down"
unset logscale x

set title "milliseconds an image"
set xlabel "seconds"
set yrange [*:*]
set logscale y 10
set key top left
plot csv using "seconds":"p99_ms" with lines lc rgb "#c8651b" lw 2 title "p99", \
     csv using "seconds":"p50_ms" with lines lc rgb "#1f5fa8" lw 2 title "p50"
unset logscale y

set title "processor time, percent of one processor"
set yrange [0:*]
set key outside below horizontal
plot csv using "seconds":"driver_cpu_percent" with lines lc rgb "#888888" lw 2 title "driver", \
     csv using "seconds":"server_cpu_percent" with lines lc rgb "#1f5fa8" lw 2 title "server", \
     csv using "seconds":"upstream_cpu_percent" with lines lc rgb "#c8651b" lw 2 title "upstream", \
     csv using "seconds":"steal_percent" with lines lc rgb "#cc0000" dt 2 title "steal"

unset multiplot
