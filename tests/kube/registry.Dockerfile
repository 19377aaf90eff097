# What the official image of the registry is: the program, its settings, and where it keeps its data.
FROM scratch
COPY registry /bin/registry
COPY registry.yml /etc/distribution/config.yml
VOLUME /var/lib/registry
EXPOSE 5000
ENTRYPOINT ["/bin/registry"]
CMD ["serve", "/etc/distribution/config.yml"]
