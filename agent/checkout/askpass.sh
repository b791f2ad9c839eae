#!/bin/sh
# Git asks, such as: Password for 'https://user@host': 
# Git-lfs asks, such as: Password for "https://user@host/path"
case $1 in
"Username for '$OTTO_GIT_ORIGIN': ") line=1 ;;
"Username for \"$OTTO_GIT_ORIGIN\"" | "Username for \"$OTTO_GIT_ORIGIN/"*) line=1 ;;
"Password for '$OTTO_GIT_ORIGIN': " | "Password for '$OTTO_GIT_ORIGIN_OF_USER': ") line=2 ;;
"Password for \"$OTTO_GIT_ORIGIN_OF_USER\"" | "Password for \"$OTTO_GIT_ORIGIN_OF_USER/"*) line=2 ;;
*) exit 1 ;;
esac
exec sed -n "${line}p" "/proc/self/fd/$OTTO_GIT_LINK"
