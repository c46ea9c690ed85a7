# Cost and latency by how many connections ask at once: gnuplot -e "csv='…'; png='…'" curves-connections.gp
set terminal pngcairo size 1000,340 font "sans,9"
set output png
set datafile separator ","
set key autotitle columnhead top left
set grid lc rgb "#dddddd"
set border 3 lc rgb "#666666"
set tics nomirror
set logscale x 10
set format x "10^{%L}"
set xrange [7:14000]
set yrange [0:*]
set xlabel "connections, all asking"
set multiplot layout 1,3
set title "CPU µs a request, cached manifest by tag"
plot csv using "connections":"cpu_us" with linespoints pt 7 lw 2 lc rgb "#1f5fa8" notitle
set title "requests a second"
plot csv using "connections":"rate" with linespoints pt 7 lw 2 lc rgb "#1f5fa8" notitle
set title "milliseconds"
set logscale y 10
set yrange [*:*]
plot csv using "connections":"p99_ms" with linespoints pt 7 lw 2 lc rgb "#1f5fa8" title "p99", \
     csv using "connections":"p999_ms" with linespoints pt 7 lw 2 lc rgb "#c8651b" title "p99.9"
unset multiplot
