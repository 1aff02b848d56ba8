#!/bin/sh
printf "out\nmore  \n"
echo err >&2
exit 2
