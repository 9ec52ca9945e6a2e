mod relay_network;
