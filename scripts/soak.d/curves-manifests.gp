# Cost, start-up and memory by how many manifests there are: gnuplot -e "csv='…'; png='…'" curves-manifests.gp
set terminal pngcairo size 1000,340 font "sans,9"
set output png
set datafile separator ","
set key autotitle columnhead top left
set grid lc rgb "#dddddd"
set border 3 lc rgb "#666666"
set tics nomirror
set logscale x 10
set format x "10^{%L}"
set xrange [70:140000]
set yrange [0:*]
set xlabel "cached manifests"
set multiplot layout 1,3
set title "CPU µs a request, cached manifest by tag"
plot csv using "manifests":"cpu_us" with linespoints pt 7 lw 2 lc rgb "#1f5fa8" notitle
set title "seconds from start"
plot csv using "manifests":"first_s" with linespoints pt 7 lw 2 lc rgb "#1f5fa8" title "first answer", \
     csv using "manifests":"indexed_s" with linespoints pt 7 lw 2 lc rgb "#c8651b" title "all indexed"
set title "memory, MiB"
plot csv using "manifests":"rss_mib" with linespoints pt 7 lw 2 lc rgb "#1f5fa8" title "resident, started", \
     csv using "manifests":"served_rss_mib" with linespoints pt 7 lw 2 lc rgb "#c8651b" title "resident, all served"
unset multiplot
